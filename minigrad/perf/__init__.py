"""Performance: what this machine can do, to hold against what a program does."""

from minigrad.perf.bandwidth import peak_bandwidth

__all__ = ["peak_bandwidth"]
