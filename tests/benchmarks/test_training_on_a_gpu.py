"""A training step of GPT-2 small on a GPU, by our kernels and by plain CuPy, at two lengths.

Run ``pytest tests/benchmarks/test_training_on_a_gpu.py --benchmark-only -s`` on a machine with a
GPU. Nothing is asserted: the notebook on FlashAttention tells the figures.
"""

import time

import numpy as np
import pytest

import minigrad as mg

cupy = pytest.importorskip("cupy")
pytestmark = pytest.mark.gpu
VOCABULARY = 50_304


def step_of(length, batch):
    """A function that does one step: forward, backward, AdamW, in float32."""
    config = mg.models.GPTConfig(VOCABULARY, length, 768, 12, 12, tie_weights=True)
    model = mg.models.GPT(config).to("cuda")
    optimizer = mg.optim.AdamW(model.parameters(), lr=1e-4)
    rng = np.random.default_rng(0)
    ids, targets = rng.integers(0, VOCABULARY, (2, batch, length))
    ids, targets = mg.tensor(ids, device="cuda"), mg.tensor(targets.reshape(-1), device="cuda")

    def step():
        optimizer.zero_grad()
        mg.cross_entropy(model(ids).reshape(-1, VOCABULARY), targets).backward()
        optimizer.step()
        cupy.cuda.runtime.deviceSynchronize()

    return step


@pytest.mark.parametrize("kernels", [True, False], ids=["kernels", "plain CuPy"])
@pytest.mark.parametrize(("length", "batch"), [(1024, 8), (2048, 4)])
def test_training_step_of_gpt2(benchmark, capsys, length, batch, kernels):
    pool = cupy.get_default_memory_pool()
    with mg.use_kernels(kernels):
        step, times = step_of(length, batch), []
        for _ in range(6):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        benchmark.pedantic(step, rounds=1, iterations=1)
    seconds = float(np.median(times[2:]))
    with capsys.disabled():
        print(
            f"\nL {length}, B {batch}, {'kernels' if kernels else 'plain CuPy'}: "
            f"{seconds * 1e3:.0f} ms, {batch * length / seconds:,.0f} tokens/s, "
            f"{pool.total_bytes() / 2**30:.1f} GiB"
        )
    del step
    pool.free_all_blocks()
