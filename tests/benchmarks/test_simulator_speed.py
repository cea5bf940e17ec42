"""Seconds that the simulator takes for a small product of matrices, plain and watched.

Run ``pytest tests/benchmarks/test_simulator_speed.py --benchmark-only --numprocesses=0 -s`` on a
quiet machine. Nothing is asserted: a noisy machine is no bug.
"""

import time

import numpy as np
import pytest

from kernels import cuda
from kernels.watch import watch

T = 8
N = 32


@cuda.jit
def tiled(A, B, C):
    a = cuda.shared.array((T, T), np.float32)
    b = cuda.shared.array((T, T), np.float32)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    j, i = cuda.grid(2)
    total = np.float32(0)
    for start in range(0, A.shape[1], T):
        a[y, x] = A[i, start + x]
        b[y, x] = B[start + y, j]
        cuda.syncthreads()
        for k in range(T):
            total += a[y, k] * b[k, x]
        cuda.syncthreads()
    C[i, j] = total


def plain(A, B, C):
    tiled[(N // T, N // T), (T, T)](A, B, C)


def watched(A, B, C):
    """The same with sectors, bank conflicts, divergence and races found out, and a table."""
    return str(watch(tiled[(N // T, N // T), (T, T)], A, B, C))


@pytest.mark.parametrize(("run", "most"), [(plain, 0.1), (watched, 0.5)])
def test_tiled_product(benchmark, capsys, run, most):
    A, B = np.random.default_rng(0).standard_normal((2, N, N)).astype(np.float32)
    C = np.zeros_like(A)
    times = []
    for _ in range(15):
        start = time.perf_counter()
        run(A, B, C)
        times.append(time.perf_counter() - start)
    np.testing.assert_allclose(C, A @ B, rtol=1e-4, atol=1e-4)
    benchmark.pedantic(run, args=(A, B, C), rounds=5)
    with capsys.disabled():
        print(f"\n{N} x {N} product by tiles of {T}, {run.__name__}: ", end="")
        print(f"{np.median(times):.3f} s (best {min(times):.3f}; must be under {most})")
