"""Ranks in one process: real data, counted bytes, computed time."""

from minigrad.distributed.simulated.running import Fault, simulate
from minigrad.distributed.simulated.topology import FatTree, FullyConnected, Nodes, Ring
