"""Shares the rows of an array among a few threads.

Numba's own parallel loops keep their threads spinning when a loop is done, which starves BLAS, and
they compile slowly. Here plain Python threads call compiled functions that do not hold the GIL.
"""

import collections
import itertools
import os
import queue
import threading

HAND_OFF = 20_000  # nanoseconds of work below which another thread is not worth waking
CHUNKS_PER_THREAD = 2  # so that a thread that is held up leaves its second chunk to the others

_size = None
_pool = None
_making = threading.Lock()


def num_threads():
    """How many threads kernels use: MINIGRAD_NUM_THREADS, else the cores this process may use.

    Raises ValueError if MINIGRAD_NUM_THREADS is not a positive integer.
    """
    global _size
    if _size is None:
        told = os.environ.get("MINIGRAD_NUM_THREADS")
        if told is None:
            _size = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
            _size = _size or os.cpu_count() or 1
        elif told.isdecimal() and int(told) > 0:
            _size = int(told)
        else:
            raise ValueError(f"MINIGRAD_NUM_THREADS is {told!r}; expected a positive integer")
    return _size


def set_num_threads(n):
    """Use `n` threads from now on; None asks the environment again. Raises ValueError if n < 1."""
    global _size
    if n is not None and n < 1:
        raise ValueError(f"the number of threads is {n}; expected at least 1")
    _size = n


def parallel_rows(function, n_rows, *args, cost, grain=1):
    """Call `function(start, stop, *args)` over chunks that cover `range(n_rows)`, on all threads.

    `cost`: about how many nanoseconds one row takes; little work stays on the calling thread.
    `grain`: chunks start at multiples of it. Which thread takes which chunk is left to chance, and
    so is the number of chunks: a row's result must depend on neither. An exception in a chunk is
    raised here once the other chunks are done.
    """
    if n_rows == 0:
        return
    grains = -(-n_rows // grain)
    threads = min(num_threads(), grains, int(n_rows * cost) // HAND_OFF)
    if threads < 2:
        function(0, n_rows, *args)
        return
    chunks = min(threads * CHUNKS_PER_THREAD, grains)
    edges = [min(grains * i // chunks * grain, n_rows) for i in range(chunks + 1)]
    job = _Job(function, args, list(itertools.pairwise(edges)))
    waiting = _workers(threads - 1)
    for _ in range(threads - 1):
        waiting.put(job)
    job.work()
    job.wait()


def lend(job, count):
    """Let `count` threads of the pool call `job.work()`, each as soon as it is free."""
    waiting = _workers(count)
    for _ in range(count):
        waiting.put(job)


class _Job:
    """Chunks of one call; whoever is free takes the next, the calling thread too."""

    def __init__(self, function, args, ranges):
        self.function, self.args = function, args
        self.ranges = collections.deque(ranges)
        self.outcomes = queue.SimpleQueue()  # per chunk None or its exception
        self.chunks = len(ranges)

    def work(self):
        while True:
            try:
                start, stop = self.ranges.popleft()
            except IndexError:
                return
            try:
                self.function(start, stop, *self.args)
                self.outcomes.put(None)
            except BaseException as error:
                self.outcomes.put(error)

    def wait(self):
        errors = [self.outcomes.get() for _ in range(self.chunks)]
        for error in errors:
            if error is not None:
                raise error


class _Pool:
    def __init__(self):
        self.process, self.size, self.waiting = os.getpid(), 0, queue.SimpleQueue()


def _workers(count):
    """The queue that at least `count` threads of this process listen to (a fork inherits none)."""
    global _pool
    if _pool is None or _pool.process != os.getpid() or _pool.size < count:
        with _making:
            if _pool is None or _pool.process != os.getpid():
                _pool = _Pool()
            while _pool.size < count:
                _pool.size += 1
                name = f"minigrad-cpu-{_pool.size}"
                threading.Thread(
                    target=_listen, args=(_pool.waiting,), name=name, daemon=True
                ).start()
    return _pool.waiting


def _listen(waiting):
    while True:
        waiting.get().work()
