"""Many devices: collectives and parallel schemes, simulated to the byte or real on MPI and NCCL.

``run(main, 8)`` calls ``main(comm)`` on eight ranks, each with its Communicator; what it leaves, a
Run, has what they returned, the seconds that it would have taken, and which bytes went where.

Read ``communicator`` first, then ``algorithms``, then a file for each scheme: ``data_parallel``,
``zero``, ``tensor_parallel``, ``sequence_parallel``, ``pipeline``, ``expert_parallel``, ``ulysses``
and ``ring_attention``; ``mesh`` and ``mesh_training`` put them together.
"""

from minigrad.distributed.communicator import Communicator, Handle
from minigrad.distributed.errors import DistributedError, RankDied
from minigrad.distributed.mesh import Mesh
from minigrad.distributed.ops import all_reduce_then_identity, identity_then_all_reduce
from minigrad.distributed.running import Run, run
from minigrad.distributed.simulated import FatTree, Fault, FullyConnected, Nodes, Ring
