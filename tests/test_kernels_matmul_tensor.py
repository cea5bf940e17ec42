"""kernels/matmul_tensor.py and matmul_wgmma.py: every rung, and the host function at any size,
layout and epilogue, in float16 and bfloat16."""

import ml_dtypes
import numpy as np
import pytest
from kernel_harness import KernelTests, simulated, without

from kernels import _cuda, cuda, hopper, matmul_tensor, matmul_wgmma
from kernels._cubins import fingerprint
from kernels._host import empty
from kernels.matmul import product
from kernels.matmul_tensor import LADDER, Tile, launch_staged, matmul
from kernels.matmul_wgmma import Shape
from kernels.sim.machine import SimulationError
from kernels.sim.trace import Watcher

BF16 = ml_dtypes.bfloat16
TOLERANCE = {"float16": 6e-4, "bfloat16": 5e-3, "float32": 1e-6}  # of what is written
SMALL = Tile(64, 64, 32, 32, 32, 3, 1)
NARROW = Shape(1, 64, 2)


def normal(rng, *shape, dtype=np.float16):
    return rng.standard_normal(shape, dtype=np.float32).astype(dtype)


def stored(array, letter):
    """An operand as ``transpose`` says that it lies in memory."""
    return np.ascontiguousarray(array.swapaxes(-1, -2)) if letter == "T" else array


def exact(a, b):
    return a.astype(np.float64) @ b.astype(np.float64)


def climb(rung, M, N, K, dtype=np.float16):
    """The case of one rung of the ladder."""

    def case(put, rng):
        a, b = normal(rng, M, K, dtype=dtype), normal(rng, K, N, dtype=dtype)
        out = empty(put(a), (M, N))
        rung.launch(put(a), put(b), out)
        return [(out, exact(a, b), TOLERANCE[a.dtype.name])]

    return case


def one(M, N, K, transpose="NN", dtype=np.float16, launch=None, **options):
    """The case of one size and layout; by ``matmul`` or a launch of a kernel."""

    def case(put, rng):
        a, b = normal(rng, M, K, dtype=dtype), normal(rng, K, N, dtype=dtype)
        A, B = put(stored(a, transpose[0])), put(stored(b, transpose[1]))
        if launch is None:
            out = matmul(A, B, transpose=transpose)
        else:
            out = empty(A, (M, N))
            sizes = product(A, B, transpose)
            launch(sizes, transpose, A, B, 1.0, 0.0, None, None, None, out, **options)
        return [(out, exact(a, b), TOLERANCE[a.dtype.name])]

    return case


ACTIVATIONS = {
    None: lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def epilogue(activation, transpose, M, N, K, dtype, out_dtype, launch, shared=False, **options):
    """The case of a batch with all that may follow the product; ``shared``: all take the same B."""

    def case(put, rng):
        a = normal(rng, 2, M, K, dtype=dtype)
        b = normal(rng, *(() if shared else (2,)), K, N, dtype=dtype)
        c, bias = normal(rng, 2, M, N, dtype=dtype), normal(rng, N, dtype=dtype)
        A, B = put(stored(a, transpose[0])), put(stored(b, transpose[1]))
        C, BIAS = put(c), put(bias)
        out = empty(A, (2, M, N), out_dtype)
        sizes = product(A, B, transpose, -0.5, C, BIAS, activation)
        launch(sizes, transpose, A, B, 0.25, -0.5, C, BIAS, activation, out, **options)
        want = 0.25 * exact(a, b) - 0.5 * c.astype(np.float64) + bias.astype(np.float64)
        return [(out, ACTIVATIONS[activation](want), TOLERANCE[np.dtype(out_dtype).name])]

    return case


def any_size(put, rng):
    """One, zero and odd numbers of everything."""
    found = []
    for M, N, K in ((1, 1, 1), (31, 33, 5), (0, 3, 4), (3, 4, 0)):
        a, b = normal(rng, M, K), normal(rng, K, N)
        found.append((matmul(put(a), put(b)), exact(a, b), TOLERANCE["float16"]))
    return found


HALF = np.float16
BY_MMA = dict(launch=launch_staged, tile=SMALL)
MMA = {
    "tensor cores": climb(LADDER[0], 128, 128, 64),
    "swizzled": climb(LADDER[1], 128, 128, 64, BF16),
    "large tiles": one(40, 200, 208, launch=launch_staged, tile=matmul_tensor.LARGE),
    "any size": any_size,
    "multiples of the tile": one(64, 128, 160, **BY_MMA),
    "NN": one(72, 66, 136, **BY_MMA),
    "relu, TT": epilogue("relu", "TT", 8, 9, 24, HALF, np.float32, **BY_MMA),
    "gelu, NT": epilogue("gelu", "NT", 9, 8, 40, BF16, BF16, shared=True, **BY_MMA),
    "silu, TN": epilogue("silu", "TN", 8, 7, 3, HALF, HALF, **BY_MMA),
}
MMA_LARGE = {
    "NN": one(1024, 2048, 512),
    "NT": one(1023, 1025, 777, "NT", BF16),
    "TN": one(1000, 504, 2056, "TN"),
    "TT": one(328, 1096, 1032, "TT", BF16),
    "staged": one(1000, 520, 1032, launch=launch_staged),
    "batches": epilogue("gelu", "NN", 520, 264, 328, BF16, BF16, launch=launch_staged),
}
BY_WGMMA = dict(launch=matmul_wgmma.launch, shape=NARROW)
WGMMA = {
    "large": one(72, 264, 200, launch=matmul_wgmma.launch, shape=matmul_wgmma.LARGE),
    "NN": one(70, 72, 264, **BY_WGMMA),
    "TN": one(72, 136, 72, "TN", launch=matmul_wgmma.launch, shape=Shape(2, 128, 2)),
    "relu, TT": epilogue("relu", "TT", 8, 9, 24, HALF, np.float32, **BY_WGMMA),
    "gelu, NT": epilogue("gelu", "NT", 9, 8, 40, BF16, BF16, shared=True, **BY_WGMMA),
}
WGMMA_LARGE = {
    f"{transpose} {M} {N} {K}": one(M, N, K, transpose, dtype, matmul_wgmma.launch)
    for transpose, M, N, K, dtype in (
        ("NN", 2048, 4096, 1024, HALF),
        ("NT", 1023, 1025, 776, BF16),
        ("TN", 1000, 504, 2056, HALF),
        ("TT", 328, 1099, 1032, BF16),
    )
}


class TestMma(KernelTests):
    modules, cases, large = (matmul_tensor,), MMA, MMA_LARGE


class TestWgmma(KernelTests):
    modules, cases, large = (matmul_wgmma,), WGMMA, WGMMA_LARGE

    def test_deleting_a_barrier_is_noticed(self, barrier):
        """wgmma and the copy engine use memory on their own, where no race is seen; what they find
        changed, or nobody has waited for, is an error or NaN."""
        launches = [each for case in self.cases for each in simulated(type(self), case).launches]
        for each in sorted(launches, key=lambda each: each.cost):
            function = without(each.kernel.function, barrier)
            if function is None:
                continue
            wanted, found = (
                [np.array(arg) if isinstance(arg, np.ndarray) else arg for arg in each.args]
                for _ in range(2)
            )
            _cuda.simulate(each.launch, wanted, Watcher())
            try:
                _cuda.simulate(each.launch, found, Watcher(), function)
            except SimulationError:
                return
            if wanted[4].tobytes() != found[4].tobytes():
                return
        pytest.fail(f"{barrier} can be deleted unnoticed")


def test_many_batches_are_launched_in_slices(monkeypatch):
    rng = np.random.default_rng(1)
    a, b, c = normal(rng, 5, 8, 16), normal(rng, 16, 8), normal(rng, 5, 8, 8)
    monkeypatch.setattr(matmul_tensor, "MOST_BATCHES", 2)
    got = matmul(a, b, beta=1.0, c=c).astype(np.float64)
    np.testing.assert_allclose(got, exact(a, b) + c, atol=0.01)


def test_compiled_kernels_of_two_dtypes_are_told_apart():
    for make in (matmul_tensor.staged, matmul_wgmma.warpgroup):
        kernels = [make(dtype, "float32", N_multiple=1) for dtype in matmul_tensor.DTYPES]
        assert fingerprint(kernels[0]) != fingerprint(kernels[1])


def test_a_wrong_dtype_or_output_is_named():
    a, b = np.ones((2, 3), np.float16), np.ones((3, 4), np.float16)
    with pytest.raises(TypeError, match="a is float64"):
        matmul(a.astype(np.float64), b)
    with pytest.raises(TypeError, match="b is float32"):
        matmul(a, b.astype(np.float32))
    with pytest.raises(TypeError, match="out is bfloat16"):
        matmul(a, b, out=np.empty((2, 4), BF16))
    with pytest.raises(ValueError, match=r"out has shape \(2, 3\)"):
        matmul(a, b, out=np.empty((2, 3), np.float16))


def test_an_output_over_an_input_is_refused():
    a = np.ones((16, 16), np.float16)
    with pytest.raises(ValueError, match="out shares memory with a"):
        matmul(a, a.copy(), out=a)
    whole = np.ones((17, 16), np.float16)
    with pytest.raises(ValueError, match="out shares memory with c, but is not c"):
        matmul(a, a.copy(), beta=1.0, c=whole[:16], out=whole[1:])
    with pytest.raises(TypeError, match="out is list"):
        matmul(a, a, out=[1])


def test_numbers_in_another_order_of_bytes_are_refused():
    a = np.ones((16, 16), np.float16)
    with pytest.raises(TypeError, match="b is >f2; expected this machine's order"):
        matmul(a, a.astype(">f2"))


def _wgmma_kernel(before, between):
    """A kernel of one warpgroup that multiplies two tiles of ones, and may forget something."""
    wgmma = hopper.wgmma("float16", 8, True, True)
    _, wgmma_wait0 = hopper.wgmma_groups(4)
    BEFORE, BETWEEN = before, between

    @cuda.jit(archs=(cuda.SM90A,))
    def kernel(out):
        shared = cuda.shared.array(8192, np.float16, alignment=1024)
        t = cuda.threadIdx.x
        for i in range(64):
            shared[64 * t + i] = 1.0
        hopper.fence_async()
        cuda.syncthreads()
        total = cuda.local.array(4, np.float32)
        for i in range(4):
            total[i] = 0.0
        if BEFORE:
            hopper.wgmma_fence()
        wgmma(total, shared, 0, shared, 4096)
        hopper.wgmma_commit()
        if BETWEEN:
            shared[64 * t] = 2.0
        wgmma_wait0(total)
        out[t] = total[0]

    return kernel


def test_wgmma_needs_a_fence_and_operands_that_stay():
    out = np.zeros(128, np.float32)
    _wgmma_kernel(True, False)[1, 128](out)
    assert (out == 16).all()
    with pytest.raises(SimulationError, match="without a fence"):
        _wgmma_kernel(False, False)[1, 128](out)
    with pytest.raises(SimulationError, match="changed while wgmma"):
        _wgmma_kernel(True, True)[1, 128](out)
