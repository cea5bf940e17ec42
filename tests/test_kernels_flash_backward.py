"""The backward pass of FlashAttention, and attention of a Tensor on a GPU."""

import functools

import ml_dtypes
import numpy as np
import pytest
from kernel_harness import KernelTests

from kernels import (
    _flash_backward,
    flash_backward_fp32,
    flash_backward_tensor,
    flash_backward_wgmma,
)
from kernels.attention import scaled_dot_product_attention
from kernels.flash_backward import best_groups, flash_attention_backward
from kernels.flash_backward_fp32 import Patches
from kernels.flash_backward_tensor import Tiles
from kernels.flash_backward_wgmma import Groups
from minigrad.ops import scaled_dot_product_attention as specification

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
TOLERANCE = {"float32": 3e-6, "float16": 3e-3, "bfloat16": 2.5e-2}  # of the largest gradient
SMALL_PATCHES = (Patches(4, 4, 2, 2, 1),) * 2
SMALL_TILES = (Tiles(2, 1, 16, False, 1),) * 2


def reference(dout, q, k, v, causal, mask, scale):
    """Attention and its gradients by the formulas, in float64: (out, lse, dq, dk, dv)."""
    dout, q, k, v = (x.astype(np.float64) for x in (dout, q, k, v))
    B, n_h, L, H = q.shape
    n_kv, S = k.shape[1:3]
    q, dout = (x.reshape(B, n_kv, n_h // n_kv, L, H) for x in (q, dout))
    scores = np.einsum("bngih,bnjh->bngij", q, k) * scale
    if mask is not None:
        full = np.broadcast_to(mask, (B, n_h, L, S)).reshape(scores.shape)
        scores = np.where(full, scores, -np.inf) if mask.dtype == bool else scores + full
    if causal:
        i, j = np.indices((L, S))
        scores = np.where(j <= i + S - L, scores, -np.inf)
    with np.errstate(divide="ignore"):
        lse = np.logaddexp.reduce(scores, axis=-1)
    p = np.exp(scores - np.where(np.isfinite(lse), lse, 0)[..., None])
    out = np.einsum("bngij,bnjh->bngih", p, v)
    dp = np.einsum("bngih,bnjh->bngij", dout, v)
    ds = p * (dp - np.einsum("bngij,bngij->bngi", p, dp)[..., None])
    dq = np.einsum("bngij,bnjh->bngih", ds, k) * scale
    dk = np.einsum("bngij,bngih->bnjh", ds, q) * scale
    dv = np.einsum("bngij,bngih->bnjh", p, dout)
    return out.reshape(B, n_h, L, H), lse.reshape(B, n_h, L), dq.reshape(B, n_h, L, H), dk, dv


def case(dtype, B, heads, L, S, H, tiles=None, causal=False, mask=None, scale=None):
    """A case: ``heads`` is (n_h, n_kv); ``mask`` a shape, of floats, or of bools after "bool"."""

    def run(put, rng):
        kind, (n_h, n_kv) = DTYPES[dtype], heads
        dout, q = (rng.normal(size=(B, n_h, L, H)).astype(kind) for _ in range(2))
        k, v = (rng.normal(size=(B, n_kv, S, H)).astype(kind) for _ in range(2))
        given = None
        if mask is not None:
            given = rng.random(mask[1:]) < 0.6 if mask[0] == "bool" else rng.normal(size=mask)
            given = given if given.dtype == bool else given.astype(kind)
        unit = H**-0.5 if scale is None else scale
        out, lse, *want = reference(dout, q, k, v, causal, given, unit)
        arrays = map(put, (dout, q, k, v, out.astype(kind), lse.astype(np.float32)))
        got = flash_attention_backward(
            *arrays,
            causal=causal,
            mask=None if given is None else put(given),
            scale=scale,
            tiles=tiles,
        )
        return [(g, w, TOLERANCE[dtype]) for g, w in zip(got, want)]

    return run


CASES = {
    "float32": case("float32", 1, (2, 1), 33, 17, 16, SMALL_PATCHES),
    "float32, causal, added mask, more queries than keys": case(
        "float32", 2, (1, 1), 17, 9, 24, SMALL_PATCHES, causal=True, mask=(1, 9), scale=0.3
    ),
    "float32 as on a GPU": case("float32", 1, (1, 1), 9, 33, 32, causal=True),
    "float16": case("float16", 1, (4, 2), 33, 17, 32, SMALL_TILES),
    "float16, one of each": case("float16", 1, (1, 1), 1, 1, 32, SMALL_TILES),
    "bfloat16, causal, more keys than queries": case(
        "bfloat16", 1, (2, 1), 17, 65, 24, (Tiles(2, 1, 16, True, 1),) * 2, causal=True
    ),
    "float16, hidden keys": case(
        "float16", 2, (1, 1), 17, 33, 32, SMALL_TILES, mask=("bool", 2, 1, 1, 33)
    ),
    "bfloat16, added mask": case(
        "bfloat16", 1, (2, 1), 18, 17, 32, SMALL_TILES, causal=True, mask=(18, 17), scale=0.5
    ),
    "columns in parts": case(
        "float16", 1, (1, 1), 17, 15, 104,
        (Tiles(2, 1, 16, False, 1, 2), Tiles(2, 1, 16, False, 1)),
    ),
    "float16 as without wgmma": case("float16", 1, (1, 1), 65, 65, 64, causal=True),
    "bfloat16 by wgmma, hidden keys": case(
        "bfloat16", 1, (2, 1), 17, 33, 72, (Groups(2, 16, 1),) * 2, mask=("bool", 17, 33)
    ),
    "float16 by wgmma": case("float16", 1, (1, 1), 70, 133, 64, best_groups(64), causal=True),
}  # fmt: skip

LARGE = {
    f"{dtype}, width {H}, {'causal' if causal else 'all'}": case(
        dtype, 2, heads, L, S, H, causal=causal
    )
    for causal, heads, L, S, widths in (
        (
            True,
            (6, 2),
            333,
            517,
            {"float16": (32, 64, 96, 128, 256), "float32": (32, 64, 128, 256)},
        ),
        (False, (2, 2), 700, 129, {"bfloat16": (64, 128), "float32": (64,)}),
    )
    for dtype in widths
    for H in widths[dtype]
} | {
    f"{dtype}, mask of shape {mask}": case(dtype, 2, (4, 2), 259, 300, 64, mask=mask)
    for dtype, mask in (
        ("float16", ("bool", 2, 1, 1, 300)),
        ("bfloat16", (4, 259, 300)),
        ("float32", (1, 300)),
    )
}


class TestFlashBackward(KernelTests):
    modules = (_flash_backward, flash_backward_fp32, flash_backward_tensor, flash_backward_wgmma)
    cases, large = CASES, LARGE


# Bad input


def arguments(B=1, n_h=2, n_kv=1, L=3, S=5, H=16, dtype=np.float16):
    """Zeros for (dout, q, k, v, out, lse)."""
    q, k = np.zeros((B, n_h, L, H), dtype), np.zeros((B, n_kv, S, H), dtype)
    return dict(dout=q, q=q, k=k, v=k, out=q, lse=np.zeros((B, n_h, L), np.float32))


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (dict(q=np.zeros((1, 2, 3, 16))), TypeError, "q is float64"),
        (dict(k=np.zeros((1, 1, 5, 16), np.float32)), TypeError, "k is float32"),
        (dict(v=[1, 2]), TypeError, "v is list"),
        (dict(lse=np.zeros((1, 2, 3))), TypeError, "lse is float64"),
        (dict(lse=np.zeros((1, 2, 4), np.float32)), ValueError, "lse has shape"),
        (dict(dout=np.zeros((1, 2, 16, 3), np.float16)), ValueError, "dout has shape"),
        (dict(v=np.zeros((1, 1, 6, 16), np.float16)), ValueError, "v has shape"),
        (dict(q=np.zeros((2, 3, 16), np.float16)), ValueError, "q has shape"),
        (dict(out=np.zeros((1, 2, 16, 3), np.float16).swapaxes(2, 3)), ValueError, "contiguous"),
        (dict(mask=np.zeros((4, 5), bool)), ValueError, "mask"),
        (dict(mask=np.zeros((1, 1, 1, 3, 5), bool)), ValueError, "mask"),
        (dict(mask=np.zeros((3, 5), np.int64)), TypeError, "mask is int64"),
        (dict(scale=float("nan")), ValueError, "scale is nan"),
        (dict(scale=0), ValueError, "scale is 0"),
        (arguments(H=12), ValueError, "width 12"),
        (arguments(H=264), ValueError, "width 264"),
        (arguments(n_h=3, n_kv=2), ValueError, "3 query heads do not divide by 2"),
        (arguments(n_kv=0), ValueError, "do not divide by 0"),
        (arguments(B=40000), ValueError, "65,535"),
    ],
)
def test_bad_input_is_refused_before_launch(changed, error, message):
    given = arguments() | changed
    mask, scale = given.pop("mask", None), given.pop("scale", None)
    with pytest.raises(error, match=message):
        flash_attention_backward(**given, mask=mask, scale=scale)


def test_an_array_that_begins_off_a_boundary_is_refused():
    given = arguments()
    room = np.zeros(given["q"].size + 8, np.float16)
    start = next(i for i in range(1, 8) if (room.ctypes.data + 2 * i) % 16)
    given["q"] = room[start : start + given["q"].size].reshape(given["q"].shape)
    with pytest.raises(ValueError, match="q does not begin"):
        flash_attention_backward(**given)


@pytest.mark.parametrize("empty", [dict(B=0), dict(L=0), dict(S=0), dict(n_h=0)])
def test_sums_of_nothing_are_zero(empty):
    given = arguments(**empty)
    got = flash_attention_backward(**given)
    assert [g.shape for g in got] == [given[name].shape for name in "qkv"]
    assert all((g == 0).all() for g in got)


# The library's attention


@functools.cache
def small_attention():
    """(q, k, v, mask, dout) in float32."""
    rng = np.random.default_rng(5)
    q, dout = (rng.normal(size=(1, 2, 5, 8)).astype(np.float32) for _ in range(2))
    k, v = (rng.normal(size=(1, 1, 7, 8)).astype(np.float32) for _ in range(2))
    return q, k, v, rng.normal(size=(2, 1, 7)).astype(np.float32), dout


def test_the_op_finds_its_kernel():
    assert specification.kernels["cuda"] == "kernels.attention:scaled_dot_product_attention"


def test_kernel_and_specification_agree_on_all_gradients():
    import minigrad as mg

    *given, dout = small_attention()
    with mg.use_kernels(False):
        want, pull = mg.vjp(lambda *x: specification(*x, causal=True), *given)
        want_grads = pull(dout)
    out, saved = scaled_dot_product_attention.forward(*given, causal=True)
    grads = scaled_dot_product_attention.backward(dout, saved, (True,) * 4, causal=True)
    np.testing.assert_allclose(out, want, rtol=0, atol=2e-6)
    for got, wanted in zip(grads, want_grads):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-5)


def test_gradients_that_nobody_needs_are_not_given():
    *given, dout = small_attention()
    _, saved = scaled_dot_product_attention.forward(*given, causal=False)
    grads = scaled_dot_product_attention.backward(dout, saved, (False, True, False, False))
    assert [grad is None for grad in grads] == [True, False, True, True]


def test_one_query_is_answered_by_the_decoding_kernel():
    rng = np.random.default_rng(6)
    q, dout = (rng.normal(size=(1, 2, 1, 64)).astype(np.float32) for _ in range(2))
    k, v = (rng.normal(size=(1, 1, 9, 64)).astype(np.float32) for _ in range(2))
    want = reference(dout, q, k, v, True, None, 0.125)
    out, saved = scaled_dot_product_attention.forward(q, k, v, causal=True)
    grads = scaled_dot_product_attention.backward(dout, saved, causal=True)
    np.testing.assert_allclose(out, want[0], rtol=0, atol=1e-6)
    for got, wanted in zip(grads, want[2:]):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=5e-6)


def test_views_of_any_layout_are_taken():
    q, k, v, _, _ = small_attention()
    turned = [np.ascontiguousarray(x.swapaxes(1, 2)).swapaxes(1, 2) for x in (q, k, v)]
    want, _ = scaled_dot_product_attention.forward(q, k, v, causal=True)
    got, _ = scaled_dot_product_attention.forward(*turned, causal=True)
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize(
    ("shape_q", "shape_k", "mask", "supported"),
    [
        ((1, 2, 5, 8), (1, 1, 7, 8), None, True),
        ((1, 2, 5, 8), (1, 1, 7, 8), np.zeros((5, 7), bool), True),
        ((1, 2, 5, 8), (1, 1, 7, 8), np.zeros((5, 6), bool), False),
        ((1, 2, 5, 8), (1, 1, 7, 8), np.zeros((5, 7), np.int64), False),
        ((1, 2, 5, 12), (1, 1, 7, 12), None, False),
        ((1, 2, 5, 264), (1, 1, 7, 264), None, False),
        ((1, 3, 5, 8), (1, 2, 7, 8), None, False),
    ],
)
def test_the_kernel_says_what_it_supports(shape_q, shape_k, mask, supported):
    q, k = np.zeros(shape_q, np.float32), np.zeros(shape_k, np.float32)
    got = scaled_dot_product_attention.supports(q, k, k, mask, causal=True, scale=None)
    assert got is supported


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", list(DTYPES))
def test_two_runs_give_the_same_bits_on_the_gpu(dtype):
    cupy = pytest.importorskip("cupy")
    rng = np.random.default_rng(2)
    q, k = (rng.normal(size=(2, n, 1000, 64)).astype(DTYPES[dtype]) for n in (4, 2))
    out, lse, *_ = reference(q, q, k, k, True, None, 0.125)
    given = map(cupy.asarray, (q, q, k, k, out.astype(DTYPES[dtype]), lse.astype(np.float32)))
    given = list(given)
    first, second = (flash_attention_backward(*given, causal=True) for _ in range(2))
    assert all(one.tobytes() == other.tobytes() for one, other in zip(first, second))


@pytest.mark.gpu
def test_memory_is_linear_in_length_on_the_gpu():
    cupy = pytest.importorskip("cupy")
    pool, used = cupy.get_default_memory_pool(), []
    for L in (8192, 16384):
        q = cupy.random.standard_normal((1, 1, L, 64)).astype(cupy.float16)
        lse = cupy.full((1, 1, L), 12, cupy.float32)
        pool.free_all_blocks()
        before = pool.total_bytes()
        flash_attention_backward(q, q, q, q, q, lse)
        used.append(pool.total_bytes() - before)
    assert used[1] <= 2.1 * used[0] < 16 * q.nbytes
