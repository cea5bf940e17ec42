"""kernels/matmul.py: every rung, and the host function at any size, layout and epilogue."""

from unittest import mock

import numpy as np
import pytest
from kernel_harness import KernelTests

from kernels import matmul as module
from kernels import warp_tile
from kernels.matmul import LADDER, matmul
from kernels.watch import watching

TOLERANCE = 2e-6


def normal(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def stored(array, letter):
    """An operand as ``transpose`` says that it lies in memory."""
    return np.ascontiguousarray(array.swapaxes(-1, -2)) if letter == "T" else array


def exact(a, b):
    return a.astype(np.float64) @ b.astype(np.float64)


def sizes(M, N, K, transpose="NN"):
    """The case of one size and layout."""

    def case(put, rng):
        a, b = normal(rng, M, K), normal(rng, K, N)
        got = matmul(
            put(stored(a, transpose[0])), put(stored(b, transpose[1])), transpose=transpose
        )
        strays = np.sqrt(K) * 2.0**-24  # a running sum of K products, rounded after each
        return [(got, exact(a, b), max(TOLERANCE, strays))]

    return case


def tiny(case):
    """The case with tiles of one warp, which are quickly compiled and simulated."""

    def smaller(put, rng):
        with mock.patch.multiple(module, SMALL=TINY, LARGE=TINY):
            return case(put, rng)

    return smaller


def climb(rung, M, N, K):
    """The case of one rung of the ladder."""

    def case(put, rng):
        a, b = normal(rng, M, K), normal(rng, K, N)
        c = put(np.full((M, N), np.nan, np.float32))
        rung.launch(put(a), put(b), c)
        return [(c, exact(a, b), TOLERANCE)]

    return case


def cut(tile, M, N, K, transpose="NN"):
    """The case of the last rung with a tile of its own."""

    def case(put, rng):
        with mock.patch.multiple(module, SMALL=tile, LARGE=tile):
            return sizes(M, N, K, transpose)(put, rng)

    return case


def halves(dtype):
    """The case of the early rungs on 16-bit numbers, which they add in float32."""

    def case(put, rng):
        import ml_dtypes

        kind = np.dtype(getattr(ml_dtypes, dtype, dtype))
        a, b = normal(rng, 9, 12).astype(kind), normal(rng, 12, 7).astype(kind)
        results = []
        for kernel, block in (
            (module.naive, (8, 8)),
            (module.coalesced, (8, 8)),
            (module.shared_tile(8), (8, 8)),
        ):
            c = put(np.full((9, 7), np.nan, kind))
            kernel[(2, 2), block](put(a), put(b), c)
            results.append((c, exact(a, b), float(ml_dtypes.finfo(kind).eps)))
        return results

    return case


def activate(y, activation):
    if activation == "relu":
        return np.maximum(y, 0)
    if activation == "gelu":
        return y / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
    return y / (1 + np.exp(-y)) if activation == "silu" else y


def epilogue(M, N, activation, with_c, with_bias, in_place=False):
    def case(put, rng):
        a, b, bias = normal(rng, M, 6), normal(rng, 6, N), normal(rng, N)
        c = normal(rng, M, N) if with_c else None
        mine = put(c) if with_c else None
        got = matmul(
            put(a), put(b), alpha=-0.7, beta=1.3 if with_c else 0.0, c=mine,
            bias=put(bias) if with_bias else None, activation=activation,
            out=mine if in_place else None,
        )  # fmt: skip
        want = -0.7 * exact(a, b)
        if with_c:
            want += 1.3 * c
        if with_bias:
            want += bias
        return [(got, activate(want, activation), TOLERANCE)]

    return case


def batched(a_batch, b_batch, M, N, K, transpose="NN", c_batch=None, activation=None):
    def case(put, rng):
        a, b = normal(rng, *a_batch, M, K), normal(rng, *b_batch, K, N)
        c = None if c_batch is None else normal(rng, *c_batch, M, N)
        got = matmul(
            put(stored(a, transpose[0])), put(stored(b, transpose[1])), transpose=transpose,
            beta=0.0 if c is None else 0.5, c=None if c is None else put(c),
            activation=activation,
        )  # fmt: skip
        want = exact(a, b) + (0 if c is None else 0.5 * c)
        return [(got, activate(want, activation), TOLERANCE)]

    return case


TINY = warp_tile.Tile(32, 32, 4, 32, 32, 8, 2, 1)  # one warp
TWO_WARPS = warp_tile.Tile(32, 32, 8, 32, 16, 8, 3, 1)
CASES = {
    "1 x 1 x 1": sizes(1, 1, 1),
    "33 x 65 x 31": sizes(33, 65, 31),
    "two warps, TN": cut(TWO_WARPS, 64, 32, 24, "TN"),
    "the large tile": climb(LADDER[-1], *LADDER[-1].multiple),
    "31 x 1 x 70": tiny(sizes(31, 1, 70)),
    "no K": tiny(sizes(3, 5, 0)),
    "1 x 33 x 31, NT": tiny(sizes(1, 33, 31, "NT")),
    "65 x 17 x 20, TN": tiny(sizes(65, 17, 20, "TN")),
    "36 x 20 x 33, TN": tiny(sizes(36, 20, 33, "TN")),
    "17 x 65 x 3, TT": tiny(sizes(17, 65, 3, "TT")),
    "two warps": cut(TWO_WARPS, 32, 64, 24, "NT"),
    "two warps, ragged": cut(TWO_WARPS, 35, 33, 29),
    "lanes 4 x 8": cut(warp_tile.Tile(32, 32, 4, 32, 32, 4, 3, 1), 64, 32, 12, "TT"),
    "relu of bias": tiny(epilogue(5, 8, "relu", False, True)),
    "gelu of c and bias": tiny(epilogue(6, 8, "gelu", True, True)),
    "silu of c, in place": tiny(epilogue(5, 3, "silu", True, False, in_place=True)),
    "a batch": tiny(batched((2, 2), (2, 2), 3, 5, 4)),
    "a batch with one B": tiny(batched((3,), (), 2, 5, 4)),
    "a batch with one c": tiny(batched((3,), (1,), 2, 5, 4, c_batch=(), activation="silu")),
    "a batch with c": tiny(batched((1, 2), (1, 2), 2, 5, 4, c_batch=(1, 2), activation="silu")),
    "a batch with one A": tiny(batched((), (3,), 2, 7, 4, "TT")),
    "a batch of one A": tiny(batched((1,), (2,), 3, 7, 5, "TN")),
    "naive": climb(LADDER[0], 33, 17, 9),
    "coalesced": climb(LADDER[1], 17, 33, 9),
    "shared tile": climb(LADDER[2], 33, 31, 35),
    "register tile 1-D": climb(LADDER[3], 65, 17, 33),
    "register tile 2-D": climb(LADDER[4], 33, 65, 9),
    "double-buffered": climb(LADDER[5], 128, 128, 16),
    "float16": halves("float16"),
    "bfloat16": halves("bfloat16"),
}
LARGE = {
    **{
        f"1000 x 1030 x 777, {how}": sizes(1000, 1030, 777, how) for how in ("NN", "NT", "TN", "TT")
    },
    **{
        f"2048 x 2048 x 1024, {how}": sizes(2048, 2048, 1024, how)
        for how in ("NN", "NT", "TN", "TT")
    },
    "1 x 5000 x 4000": sizes(1, 5000, 4000),
    "4097 x 33 x 2049, TN": sizes(4097, 33, 2049, "TN"),
    "gelu of c and bias": epilogue(1000, 1028, "gelu", True, True, in_place=True),
    "a batch": batched((3, 4), (3, 4), 260, 300, 100, c_batch=(3, 4)),
    "70,000 batches": batched((70_000,), (70_000,), 3, 4, 5),
    **{rung.name: climb(rung, 512, 768, 256) for rung in LADDER},
}


UNNOTICED = {
    "warp_kernel: cp_async_wait0": "nothing reads what it waits for; without it the simulator stops"
}


class TestMatmul(KernelTests):
    modules, cases, large, unnoticed = (module, warp_tile), CASES, LARGE, UNNOTICED


@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
def test_bytes_are_those_of_the_formula(rung):
    rng = np.random.default_rng(3)
    M, N, K = rung.multiple or (24, 40, 12)
    K = max(K, 8)
    a, b, c = normal(rng, M, K), normal(rng, K, N), np.empty((M, N), np.float32)
    with watching() as reports:
        rung.launch(a, b, c)
    (report,) = reports
    found = [report.global_reads, report.global_writes, report.shared_reads, report.shared_writes]
    assert [each.bytes for each in found] == [
        *rung.global_bytes(M, N, K),
        *rung.shared_bytes(M, N, K),
    ]


def test_a_coalesced_warp_reads_5_sectors_where_the_naive_one_reads_33():
    rng = np.random.default_rng(4)
    a, b, c = normal(rng, 32, 8), normal(rng, 8, 32), np.empty((32, 32), np.float32)
    sectors = []
    for rung in LADDER[:2]:
        with watching() as reports:
            rung.launch(a, b, c)
        sectors.append(reports[0].global_reads.transfers)
    assert sectors == [33 * 32 * 8, 5 * 32 * 8]


def bad(message, error, a=(3, 5), b=(5, 2), **options):
    return pytest.param(message, error, a, b, options, id=message)


@pytest.mark.parametrize(
    ("message", "error", "a", "b", "options"),
    [
        bad("K = 5.*K = 4", ValueError, b=(4, 2)),
        bad("'NN', 'NT', 'TN' or 'TT'", ValueError, transpose="nn"),
        bad("activation", ValueError, activation="tanh"),
        bad("expected matrices", ValueError, a=(5,)),
        bad("there is no c", ValueError, beta=1.0),
        bad("c has shape", ValueError, beta=1.0, c=np.zeros((2, 3), np.float32)),
        bad("bias has shape", ValueError, bias=np.zeros(3, np.float32)),
        bad("out has shape", ValueError, out=np.zeros((2, 3), np.float32)),
        bad("out is float64", TypeError, out=np.zeros((3, 2))),
        bad("bias is list", TypeError, bias=[0.0, 0.0]),
        bad("batch axes", ValueError, a=(2, 3, 5), b=(3, 5, 2)),
        bad("C-contiguous", ValueError, out=np.zeros((2, 3), np.float32).T),
    ],
)
def test_bad_input_is_refused(message, error, a, b, options):
    a, b = np.ones(a, np.float32), np.ones(b, np.float32)
    with pytest.raises(error, match=message):
        matmul(a, b, **options)


def test_bad_dtypes_are_refused():
    with pytest.raises(TypeError, match="a is float64; expected float32"):
        matmul(np.ones((2, 2)), np.ones((2, 2)))
    with pytest.raises(TypeError, match="b is int32"):
        matmul(np.ones((2, 2), np.float32), np.ones((2, 2), np.int32))
    with pytest.raises(TypeError, match="a is list"):
        matmul([[1.0]], np.ones((1, 1), np.float32))


def test_an_output_on_top_of_an_input_is_refused():
    a, b = np.ones((4, 4), np.float32), np.ones((4, 4), np.float32)
    with pytest.raises(ValueError, match="out shares memory with b"):
        matmul(a, b, out=b)
    c = np.ones((2, 4, 4), np.float32)
    with pytest.raises(ValueError, match="is not c"):
        matmul(c[:1].repeat(2, axis=0), b, beta=1.0, c=c[0], out=c)


@pytest.mark.parametrize("shape", [(0, 3, 2), (3, 0, 2)])
def test_empty_outputs_need_no_launch(shape):
    M, N, K = shape
    with watching() as reports:
        out = matmul(np.ones((M, K), np.float32), np.ones((K, N), np.float32))
    assert out.shape == (M, N) and not reports
