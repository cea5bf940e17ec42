"""Seconds that the simulated engine takes for an AllReduce.

Run ``pytest tests/benchmarks/test_distributed_speed.py --benchmark-only --numprocesses=0 -s`` on a
quiet machine. Nothing is asserted: a noisy machine is no bug.
"""

import time

import numpy as np
import pytest

from minigrad import distributed as dist

CASES = [
    # ranks, bytes, algorithm, seconds that it may take, rounds
    (8, 2**20, "ring", 0.020, 20),
    (1024, 2**10, "recursive doubling", 1.0, 3),
    (1024, 2**12, "ring", 15.0, 1),
]


@pytest.mark.parametrize(("ranks", "nbytes", "algorithm", "most", "rounds"), CASES)
def test_all_reduce(benchmark, capsys, ranks, nbytes, algorithm, most, rounds):
    x = np.random.default_rng(0).standard_normal(nbytes // 4).astype(np.float32)

    def all_reduce():
        return dist.run(lambda comm: comm.all_reduce(x, algorithm=algorithm), ranks)

    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run = all_reduce()
        times.append(time.perf_counter() - start)
    np.testing.assert_allclose(run[ranks - 1], ranks * x, rtol=1e-3)
    benchmark.pedantic(all_reduce, rounds=1)
    with capsys.disabled():
        print(f"\n{algorithm} of {nbytes:,} bytes over {ranks} ranks: ", end="")
        print(f"{np.median(times):.4f} s (best {min(times):.4f}; must be under {most})")
