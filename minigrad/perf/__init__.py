"""Performance: what a machine can do, to hold against what a program does."""

from minigrad.perf.activations import block_activations, paper_bytes, saved_activations
from minigrad.perf.bandwidth import peak_bandwidth
from minigrad.perf.devices import A100, H100, Device, occupancy
from minigrad.perf.memory import live_arrays, live_bytes
from minigrad.perf.results import measured
from minigrad.perf.roofline import attainable, intensity, least_time

__all__ = [
    "A100",
    "H100",
    "Device",
    "attainable",
    "block_activations",
    "intensity",
    "least_time",
    "live_arrays",
    "live_bytes",
    "measured",
    "occupancy",
    "paper_bytes",
    "peak_bandwidth",
    "saved_activations",
]
