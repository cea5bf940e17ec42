"""Time of minigrad against its peers, as ratios measured in one process, rounds interleaved.

Run ``pytest tests/benchmarks --benchmark-only`` (see the README); each test prints its ratios with
the bounds they are held against. Nothing is asserted: a noisy machine is no bug.
"""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

import minigrad as mg

from . import peers

torch = pytest.importorskip("torch")
torch.set_num_threads(2)


def interleaved(works, rounds):
    """Median seconds of each work, one call of each in turn, the first round not counted."""
    times = {name: [] for name in works}
    for _ in range(rounds + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            times[name].append(time.perf_counter() - start)
    return {name: float(np.median(each[1:])) for name, each in times.items()}


@pytest.fixture
def compare(benchmark, capsys):
    """Time the works in turn, then report the first one's ratio to each of the others."""

    def run(works, rounds, bounds, unit="of the time of"):
        medians = interleaved(works, rounds)
        first, *others = works
        benchmark.pedantic(works[first], rounds=1, iterations=1)
        with capsys.disabled():
            print(f"\n{first}: {medians[first] * 1e3:.2f} ms", end="")
            for other in others:
                ratio = medians[first] / medians[other]
                benchmark.extra_info[f"{unit} {other}"] = ratio
                print(f"; {ratio:.2f} {unit} {other} {bounds.get(other, '')}", end="")
            print()
        return medians

    return run


@pytest.mark.parametrize("face", ["grad", "backward"])
def test_gradient_of_the_mlp(compare, face):
    pytest.importorskip("autograd")
    ours = peers.mlp_minigrad if face == "grad" else peers.mlp_minigrad_backward
    works = {
        f"minigrad {face}": ours(),
        "autograd": peers.mlp_autograd(),
        "torch": peers.mlp_torch(),
    }
    compare(works, 500, {"autograd": "(must 0.6, aim 0.45)", "torch": "(must 0.9, aim 0.7)"})


@pytest.mark.parametrize(("size", "rounds"), [("small", 40), ("large", 10)])
def test_training_step_of_the_gpt(compare, size, rounds):
    works = {f"minigrad {size} GPT": peers.gpt_minigrad(size), "torch": peers.gpt_torch(size)}
    medians = compare(works, rounds, {})
    tokens = medians["torch"] / medians[f"minigrad {size} GPT"]
    print(f"tokens per second: {tokens:.2f} of PyTorch's (must 0.9, aim 1.2)")


def test_derivatives_against_the_loss_alone(compare):
    loss, parameters = peers.gpt_loss_minigrad("large")
    random = np.random.default_rng(0)
    along = {k: random.standard_normal(v.shape).astype(v.dtype) for k, v in parameters.items()}
    works = {
        "JVP": lambda: mg.jvp(loss, (parameters,), (along,)),
        "gradient": lambda: mg.grad(loss)(parameters),
        "HVP": lambda: mg.hvp(loss, (parameters,), (along,)),
        "loss": lambda: loss(parameters),
    }
    medians = compare(works, 7, {"loss": "(must 2.5, aim 2.2)"})
    for name, bounds in (("gradient", "must 3.5, aim 3"), ("HVP", "must 8, aim 6")):
        print(f"{name}: {medians[name] / medians['loss']:.2f} of the time of loss ({bounds})")


def test_derivatives_along_the_embeddings_alone(compare):
    """Where one factor of each product stays fixed, a tangent costs one more product, not two."""
    loss, parameters = peers.gpt_loss_minigrad("large")
    tables = {k: v for k, v in parameters.items() if "embedding" in k}
    random = np.random.default_rng(0)
    along = {k: random.standard_normal(v.shape).astype(v.dtype) for k, v in tables.items()}

    def of_tables(tables):
        return loss({**parameters, **tables})

    works = {
        "JVP along the embeddings": lambda: mg.jvp(of_tables, (tables,), (along,)),
        "HVP": lambda: mg.hvp(of_tables, (tables,), (along,)),
        "loss": lambda: loss(parameters),
    }
    medians = compare(works, 7, {})
    print(f"HVP: {medians['HVP'] / medians['loss']:.2f} of the time of loss")


def test_depth_costs_linear_time(benchmark):
    def seconds_per_op(depth):
        w = mg.tensor([1.0, 2.0], requires_grad=True)
        start = time.perf_counter()
        y = w
        for _ in range(depth):
            y = y * 1.0
        y.sum().backward()
        del y
        return (time.perf_counter() - start) / depth

    shallow, deep = seconds_per_op(10_000), seconds_per_op(100_000)
    benchmark.pedantic(seconds_per_op, args=(100_000,), rounds=1)
    print(f"\nper op: {deep / shallow:.2f} of the time at depth 10,000 when 100,000 deep")


def test_import(benchmark):
    def imported(module):
        code = (
            f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        )
        run = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        return float(run.stdout)

    times = {m: np.median([imported(m) for _ in range(7)]) for m in ("minigrad", "numpy")}
    benchmark.pedantic(imported, args=("minigrad",), rounds=1)
    print(f"\nimport minigrad {times['minigrad']:.3f} s (must 0.3, aim 0.15)", end="")
    print(f", of which numpy {times['numpy']:.3f} s")


MEMORY = """
import sys
sys.path.insert(0, {folder!r})
import peers

def kilobytes(entry):
    status = open("/proc/self/status").read()
    return int(status.split(entry + ":")[1].split()[0])

for size in ("tiny", "tiny", {size!r}):
    step = peers.{work}(size)
    if size != "tiny":
        before = kilobytes("VmRSS")
        open("/proc/self/clear_refs", "w").write("5")  # the peak starts again from here
    for _ in range(3):
        step()
print(kilobytes("VmHWM") - before)
"""


def peak_kilobytes(work, size):
    """What three steps add, at their peak, to the memory of a process that has its model and has
    compiled and loaded everything else (Linux)."""
    code = MEMORY.format(folder=os.path.dirname(__file__), work=work, size=size)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.parametrize("size", ["small", "large"])
def test_peak_memory_of_the_training_step(benchmark, size):
    ours, theirs = peak_kilobytes("gpt_minigrad", size), peak_kilobytes("gpt_torch", size)
    benchmark.extra_info["memory"] = ours / theirs
    benchmark.pedantic(lambda: None, rounds=1)
    print(f"\n{size} GPT: peak {ours // 1024} MB", end="")
    print(f", {ours / theirs:.2f} of PyTorch's (must 1.3, aim 1.0)")
