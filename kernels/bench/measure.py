"""How the benchmarks measure and check: times, errors, bandwidth, hardware counters."""

import functools
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import cupy
import numpy as np

from kernels import cuda, ptx

SECTIONS = {}  # {name: function that yields Rows}
dry = False  # whether calls are only made to see which kernels they want
ROOT = Path(__file__).resolve().parents[2]


class Row(NamedTuple):
    """A line of the table: what ran, its time, its rate, and the share of its peer's speed."""

    kernel: str
    size: str
    ms: float | None
    rate: str
    peer: str
    share: float | None
    must: float | None = None
    error: float | None = None
    note: str = ""


def section(name):
    """Decorator: a function that yields the rows of a section."""

    def register(function):
        SECTIONS[name] = function
        return function

    return register


def milliseconds(run, least=10, seconds=0.4, calls=None):
    """The median time of a call on the GPU alone, over at least ``least`` rounds or about so many
    seconds. The GPU is kept waiting while the calls of a round are queued, so that what Python
    takes for them does not count. A call that itself waits for the GPU takes ``calls=1``: a second
    could not be queued behind it."""
    run()
    if dry:
        return 1.0
    waiting, whole = (max(each) for each in zip(*(seconds_of(run) for _ in range(2))))
    calls = calls or (1 if whole > 0.02 else max(1, min(10, int(5e-3 / waiting))))
    rounds = []
    while len(rounds) < least or (sum(rounds) * calls < 1000 * seconds and len(rounds) < 100):
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        hold(1.5 * calls * waiting + 1e-4)
        start.record()
        for _ in range(calls):
            run()
        end.record()
        end.synchronize()
        rounds.append(cupy.cuda.get_elapsed_time(start, end) / calls)
    return statistics.median(rounds)


def seconds_of(run):
    """(what Python takes to queue a call, what it and the GPU take together)."""
    cupy.cuda.runtime.deviceSynchronize()
    start = time.perf_counter()
    run()
    queued = time.perf_counter()
    cupy.cuda.runtime.deviceSynchronize()
    return queued - start, time.perf_counter() - start


@cuda.jit
def spin(nanoseconds, out):
    """Keep a thread busy for so long."""
    start = ptx.nanoseconds()
    while ptx.nanoseconds() - start < np.uint64(nanoseconds):
        out[0] += 1


def hold(seconds):
    """Keep the GPU waiting for about so long."""
    spin[1, 1](int(seconds * 1e9), scratch())


@functools.cache
def scratch():
    return cupy.zeros(1, np.int64)


def error(got, want):
    """|got - want| / |want| in float64, both norms Euclidean; NaN anywhere gives NaN."""
    got, want = cupy.asarray(got, cupy.float64), cupy.asarray(want, cupy.float64)
    return float(cupy.linalg.norm(got - want) / cupy.linalg.norm(want))


def require(name, found, most):
    """Raises AssertionError where a kernel's relative error is over ``most``."""
    if not found <= most and not dry:
        raise AssertionError(f"{name}: relative error {found:.2e}, over {most:.0e}")
    return found


def normal(*shape, dtype=np.float32):
    """Random numbers on the GPU, fresh in each run."""
    return cupy.random.standard_normal(shape, np.float32).astype(dtype)


def told(rung, before, ms):
    """A rung's idea, and what it gains on the one before, in a table's last column."""
    gain = "" if before is None else f"; predicted {rung.gain:g}x, measured {before / ms:.1f}x"
    return rung.idea + gain


def copy_bandwidth():
    """Bytes per second of a device copy, read and written."""
    source = cupy.random.random(2**28, np.float32)
    target = cupy.empty_like(source)
    ms = milliseconds(
        lambda: cupy.cuda.runtime.memcpyAsync(
            target.data.ptr, source.data.ptr, source.nbytes, 3, cupy.cuda.get_current_stream().ptr
        )
    )
    return 2 * source.nbytes / ms * 1000


class Peak(cupy.cuda.MemoryHook):
    """``with Peak() as peak:`` counts the bytes that the block holds at most beyond what was there,
    in ``peak.most``, whatever the pool keeps."""

    def __init__(self):
        self.held = self.most = 0

    def malloc_postprocess(self, **what):
        self.held += what["mem_size"]
        self.most = max(self.most, self.held)

    def free_postprocess(self, **what):
        self.held -= what["mem_size"]


def torch():
    """PyTorch with a GPU, or None."""
    try:
        import torch
    except ImportError:
        return None
    return torch if torch.cuda.is_available() else None


def dram_bytes(what):
    """Bytes that the device's memory moved in one run of ``what``, by the hardware's counters
    (Nsight Compute), or None where they cannot be read."""
    command = ["ncu", "--clock-control", "none", "--metrics",
               "dram__bytes_read.sum,dram__bytes_write.sum",
               "--print-units", "base", "--csv", "--profile-from-start", "off",
               sys.executable, "-m", "kernels.bench", "--once", what]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=ROOT)
    except (OSError, subprocess.TimeoutExpired):
        return None
    total = 0.0
    for line in done.stdout.splitlines():
        if '"dram__bytes' in line:
            total += float(line.rstrip().rstrip('"').split('","')[-1].replace(",", ""))
    return total or None
