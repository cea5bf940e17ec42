"""How many bytes a second memory gives, measured on this machine."""

import functools
import time

import numpy as np

from minigrad import backend
from minigrad.cpu.threads import num_threads, parallel_rows

SIZE = {"cpu": 256 << 20, "cuda": 1 << 30}  # bytes to read: several times what caches hold
SECONDS, FEWEST = 0.25, 5  # how long to go on, and how often to read at least
WIDTH = 1 << 14  # numbers in a row


def peak_bandwidth(device="cpu"):
    """The highest rate at which a device reads its memory, in bytes a second.

    A large float32 array is summed again and again, on the CPU by all threads that kernels use
    (``cpu.num_threads()``), and the fastest reading counts: whatever else runs can only make one
    slower. Each device is measured once, in about half a second; later calls give the same number.

    Arguments: device, ``"cpu"``, ``"cuda"`` or ``"cuda:1"``. Raises RuntimeError or ValueError for
    a device that is not there.
    """
    return _measured(str(device), num_threads())


@functools.cache
def _measured(device, threads):
    reader = _reader_of_cpu if device == "cpu" else _reader_of_gpu
    read, size = reader(backend.to_device(np.ones(WIDTH, np.float32), device))
    read()
    return size / fastest(read)


def _reader_of_cpu(row):
    from minigrad.cpu.reading import add_rows

    # Copies, since pages that were never written to are all one page.
    x = np.tile(row, (SIZE["cpu"] // row.nbytes, 1))
    out = np.empty(len(x), x.dtype)
    return lambda: parallel_rows(add_rows, len(x), x, out, cost=WIDTH), x.nbytes


def _reader_of_gpu(row):
    xp = backend.array_module(row)
    with row.device:
        x = xp.tile(row, (SIZE["cuda"] // row.nbytes, 1))

    def read():
        with row.device:
            x.sum()
            xp.cuda.get_current_stream().synchronize()

    return read, x.nbytes


def fastest(run, clock=time.perf_counter, seconds=SECONDS, fewest=FEWEST):
    """The shortest of several runs, in seconds: ``fewest`` at least, more until time is up."""
    times = []
    while len(times) < fewest or sum(times) < seconds:
        before = clock()
        run()
        times.append(clock() - before)
    return min(times)
