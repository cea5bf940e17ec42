"""Performance: what a machine can do, to hold against what a program does."""

from minigrad.perf.bandwidth import peak_bandwidth
from minigrad.perf.devices import A100, H100, Device, occupancy
from minigrad.perf.results import measured
from minigrad.perf.roofline import attainable, intensity, least_time

__all__ = [
    "A100",
    "H100",
    "Device",
    "attainable",
    "intensity",
    "least_time",
    "measured",
    "occupancy",
    "peak_bandwidth",
]
