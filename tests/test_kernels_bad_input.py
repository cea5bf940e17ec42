"""What kernels and the functions before them refuse: with a clear error, before any launch."""

import types
import warnings

import ml_dtypes
import numpy as np
import pytest

from kernels import cuda, flash_fp8, matmul_tensor
from kernels.adamw import adamw_step
from kernels.attention import scaled_dot_product_attention as attention
from kernels.cross_entropy import cross_entropy
from kernels.decode_attention import decode_attention
from kernels.flash_attention import LADDER, attend, flash_attention
from kernels.flash_backward import flash_attention_backward
from kernels.flash_backward_fp32 import Patches
from kernels.flash_backward_tensor import Tiles
from kernels.matmul import LADDER as PRODUCTS
from kernels.matmul import matmul
from kernels.norm import layer_norm, rms_norm
from kernels.norm_grad import norm_backward
from kernels.quantized import QuantizedWeight, dequantize, from_gguf, quantize, quantized_matmul
from kernels.reduce import reduce_sum, sum_rows
from kernels.softmax import softmax
from kernels.watch import watching

F16, F32 = np.float16, np.float32
HUGE = 10**400  # an integer that no float reaches


def ones(*shape, dtype=F32):
    return np.ones(shape, dtype)


def misplaced(*shape, dtype=F32):
    """Ones at an odd address."""
    out = np.zeros(int(np.prod(shape)) * np.dtype(dtype).itemsize + 1, np.uint8)[1:].view(dtype)
    out[:] = 1
    return out.reshape(shape)


def locked(*shape, dtype=F32):
    """Ones that cannot be written to."""
    out = ones(*shape, dtype=dtype)
    out.flags.writeable = False
    return out


def masked(x):
    return np.ma.masked_array(x, mask=True)


def matrix(x):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.matrix(x)


class Tensor:
    """What another library's array on a GPU looks like."""

    __cuda_array_interface__ = types.MappingProxyType({})
    dtype, shape, ndim = "torch.float32", (3, 8), 2


@cuda.jit
def double(x, factor, out):
    i = cuda.grid(1)
    if i < out.size:
        out[i] = x[i] * factor


def launch(x=None, factor=2.0, grid=1, block=32, **options):
    x = ones(4) if x is None else x
    double[grid, block, None, *options.values()](x, factor, ones(4))


def step(p=None, g=None, m=None, v=None, master=None, **options):
    lists = ([ones(4)] if each is None else each for each in (p, g, m, v))
    given = dict(lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1, step=1)
    adamw_step(*lists, master, **given | options)


def loss(logits=None, targets=None, **options):
    logits = np.eye(3, 8, dtype=F32) if logits is None else logits
    return cross_entropy.forward(logits, np.arange(3) if targets is None else targets, **options)


def loss_backward(g, **options):
    _, *saved = 0, np.eye(3, 8, dtype=F32), np.arange(3), ones(3), ones(3), np.array([3, 0])
    return cross_entropy.backward(g, saved, **options)


def product(a=None, b=None, dtype=F32, **options):
    a = ones(4, 4, dtype=dtype) if a is None else a
    return matmul(a, ones(4, 4, dtype=dtype) if b is None else b, **options)


def flash(q=None, k=None, v=None, dtype=F32, **options):
    q, k, v = (ones(1, 1, 2, 8, dtype=dtype) if each is None else each for each in (q, k, v))
    return flash_attention(q, k, v, **options)


def flash_backward(dtype=F32, **options):
    x = ones(1, 1, 2, 8, dtype=dtype)
    given = dict(dout=x, q=x, k=x, v=x, out=x, lse=ones(1, 1, 2)) | options
    return flash_attention_backward(**given)


def decode(dtype=F32, **options):
    given = dict(q=ones(1, 2, 32, dtype=dtype), lengths=np.array([4], np.int32))
    given |= dict.fromkeys("kv", ones(1, 1, 4, 32, dtype=dtype)) | options
    return decode_attention(**given)


def times(x=None, weight=None, **options):
    weight = quantize(ones(32, 8)) if weight is None else weight
    return quantized_matmul(ones(1, 32) if x is None else x, weight, **options)


def weight(values=None, scales=None, minima=None):
    values = np.ones((8, 32), np.int8) if values is None else values
    return QuantizedWeight(values, ones(1, 8, dtype=F16) if scales is None else scales, minima)


x38, x1, q = ones(3, 8), ones(4), ones(1, 1, 2, 8)
fours = dict(values=np.ones((8, 32), np.uint8))
T, V = TypeError, ValueError
CASES = {
    # Numbers in another order of bytes
    "swapped: product": (lambda: product(ones(4, 4, dtype=">f4")), T, "a is >f4"),
    "swapped: out": (lambda: product(out=ones(4, 4, dtype=">f4")), T, "out is >f4"),
    "swapped: softmax": (lambda: softmax.forward(ones(3, 8, dtype=">f2")), T, "x is >f2"),
    "swapped: flash": (lambda: flash(ones(1, 1, 2, 8, dtype=">f4")), T, "q is >f4; expected this"),
    "swapped: gradient": (lambda: loss_backward(ones(1, dtype=">f4")), T, "g is >f4"),
    "swapped: parameters": (lambda: step([ones(4, dtype=">f4")]), T, "parameters is >f4"),
    "swapped: slots": (lambda: step(m=[ones(4, dtype=">f4")]), T, "m are float32"),
    "swapped: master": (
        lambda: step(*[[ones(4, dtype=F16)]] * 4, [ones(4, dtype=">f4")]), V, r"master\[0\]"),
    "swapped: launch": (lambda: launch(ones(4, dtype=">f4")), T, "double: x holds >f4"),
    # What is no plain array
    "masked: product": (lambda: product(masked(ones(4, 4, dtype=F16))), T, "a is MaskedArray"),
    "masked: softmax": (lambda: softmax.forward(masked(x38)), T, "x is MaskedArray"),
    "masked: launch": (lambda: launch(masked(x1)), T, "double: x is a MaskedArray"),
    "masked: quantize": (lambda: quantize(masked(ones(32, 8))), T, "w is MaskedArray"),
    "matrix: softmax": (lambda: softmax.forward(matrix(x38)), T, "x is matrix"),
    "tensor: softmax": (lambda: softmax.forward(Tensor()), T, "x is Tensor; expected a NumPy"),
    "tensor: product": (lambda: product(Tensor()), T, "a is Tensor"),
    "tensor: launch": (
        lambda: double[1, 32](Tensor(), 2.0, Tensor()), T, "double takes NumPy or CuPy arrays"),
    "number: reduce": (lambda: reduce_sum(F32(1)), T, "x is float32"),
    "list: reduce": (lambda: reduce_sum([1.0]), T, "x is list"),
    "None: softmax": (lambda: softmax.forward(None), T, "x is None; expected an array"),
    "None: softmax's g": (lambda: softmax.backward(None, (x38,)), T, "g is None"),
    "None: quantize": (lambda: quantize(None), T, "w is None"),
    "None: product": (lambda: matmul(None, x38), T, "a is None"),
    "None: product's b": (lambda: matmul(x38, None), T, "b is None"),
    "None: product's b, 16 bits": (lambda: matmul(ones(2, 2, dtype=F16), None), T, "b is None"),
    "None: flash": (lambda: flash_attention(q, None, q), T, "k is None"),
    "None: flash's q": (lambda: flash_attention(None, q, q), T, "q is None"),
    "None: flash backward": (lambda: flash_backward(lse=None), T, "lse is None"),
    "None: decode": (lambda: decode(lengths=None), T, "lengths is None"),
    "None: decode's q": (lambda: decode(q=None), T, "q is None"),
    "None: attention": (lambda: attention.forward(q, None, q), T, "k is None"),
    "None: reduce": (lambda: reduce_sum(None), T, "x is None"),
    "None: targets": (lambda: cross_entropy.forward(x38, None), T, "targets is None"),
    "None: gradient of a loss": (lambda: loss_backward(None), T, "g is None"),
    # Places in memory
    "misplaced: mask": (
        lambda: flash_backward(mask=misplaced(2, 2)), V, "mask begins at an address that 4"),
    "misplaced: parameter": (lambda: step([misplaced(4)]), V, r"parameters\[0\] begins at"),
    "misplaced: gradient": (lambda: step(g=[misplaced(4)]), V, r"gradients\[0\] begins at"),
    "misplaced: launch": (lambda: launch(misplaced(4)), V, "double: x is not aligned"),
    "locked: out": (lambda: product(out=locked(4, 4)), V, "out cannot be written to"),
    "locked: out, 16 bits": (
        lambda: product(dtype=F16, out=locked(4, 4, dtype=F16)), V, "out cannot be written to"),
    # AdamW
    "AdamW: v of nothing": (lambda: step(v=[None]), T, r"v\[0\] is NoneType"),
    "AdamW: m of nothing": (lambda: step(m=[None]), T, r"m\[0\] is NoneType"),
    "AdamW: no array": (lambda: step([None]), T, "parameters is None"),
    "AdamW: no list": (lambda: step(5), T, "parameters is int; expected a list"),
    "AdamW: one array": (lambda: step(m=x1), T, "m is ndarray; expected a list"),
    "AdamW: beta1": (lambda: step(beta1=1.0), V, "beta1 is 1.0"),
    "AdamW: beta1 too large": (lambda: step(beta1=1.5), V, "beta1 is 1.5"),
    "AdamW: beta2": (lambda: step(beta2=1), V, "beta2 is 1;"),
    "AdamW: negative beta": (lambda: step(beta2=-0.5), V, "beta2 is -0.5"),
    "AdamW: eps": (lambda: step(eps=-1), V, "eps is -1"),
    "AdamW: lr": (lambda: step(lr=-1), V, "lr is -1"),
    "AdamW: lr of NaN": (lambda: step(lr=np.nan), V, "lr is nan"),
    "AdamW: lr of text": (lambda: step(lr="0.1"), T, "lr is str; expected a number"),
    "AdamW: lr too large": (lambda: step(lr=1e300), V, r"lr is 1e\+300"),
    "AdamW: decay": (lambda: step(weight_decay=1e300), V, "weight_decay is 1e"),
    "AdamW: decay of lr": (lambda: step(lr=1e30, weight_decay=1e30), V, r"lr \* weight_decay"),
    "AdamW: rate": (lambda: step(lr=1e38, beta1=0.999), V, r"lr / \(1 - beta1\*\*step\) is"),
    "AdamW: step": (lambda: step(step=1.5), T, "step is float; expected an integer"),
    "AdamW: no step": (lambda: step(step=0), V, "step is 0"),
    "AdamW: step of text": (lambda: step(step="1"), T, "step is str"),
    "AdamW: step too large": (lambda: step(step=HUGE), V, "step is 1000"),
    # Cross-entropy
    "loss: ignored": (lambda: loss(ignore_index=1.5), T, "ignore_index is float"),
    "loss: ignored array": (lambda: loss(ignore_index=np.array([1])), T, "ignore_index is nda"),
    "loss: ignored, too large": (lambda: loss(ignore_index=2**70), V, "ignore_index is 118"),
    "loss: smoothing": (lambda: loss(label_smoothing=2.0), V, "label_smoothing is 2.0"),
    "loss: negative smoothing": (lambda: loss(label_smoothing=-1), V, "label_smoothing is -1"),
    "loss: smoothing of NaN": (lambda: loss(label_smoothing=np.nan), V, "label_smoothing is nan"),
    "loss: complex smoothing": (lambda: loss(label_smoothing=1j), T, "label_smoothing is compl"),
    "loss: no smoothing": (lambda: loss(label_smoothing=None), T, "label_smoothing is None"),
    "loss: huge smoothing": (lambda: loss(label_smoothing=HUGE), V, "label_smoothing is 1000"),
    "loss: reduction": (lambda: loss(reduction="x"), V, "reduction is 'x'"),
    "loss: reductions": (lambda: loss(reduction=np.array(["sum"])), V, "reduction is array"),
    "loss: three gradients": (lambda: loss_backward(ones(3)), V, r"g has shape \(3,\)"),
    "loss: two gradients": (
        lambda: loss_backward(ones(2), reduction="none"), V, r"g has shape \(2,\); expected 3"),
    "loss: gradient's dtype": (lambda: loss_backward(np.array(1j)), T, "g is complex128"),
    "loss: reduction's gradient": (
        lambda: loss_backward(ones(1), reduction="x"), V, "reduction is 'x'"),
    "loss: smoothing's gradient": (
        lambda: loss_backward(ones(1), label_smoothing=2), V, "label_smoothing is 2"),
    # Rows
    "norm: eps": (lambda: layer_norm.forward(x38, eps=-1.0), V, "eps is -1.0"),
    "norm: eps of NaN": (lambda: rms_norm.forward(x38, eps=np.nan), V, "eps is nan"),
    "norm: infinite eps": (lambda: layer_norm.forward(x38, eps=np.inf), V, "eps is inf"),
    "norm: eps of text": (lambda: layer_norm.forward(x38, eps="1e-5"), T, "eps is str"),
    "norm: eps of a list": (lambda: layer_norm.forward(x38, eps=[1e-5]), T, "eps is list"),
    "norm: weight": (
        lambda: norm_backward(x38, x38, ones(4), None, ones(3)), V, r"weight is float32 \(4,\)"),
    "norm: weight's dtype": (
        lambda: norm_backward(x38, x38, np.ones(8), None, ones(3)), V, "weight is float64"),
    "norm: rstd": (
        lambda: norm_backward(x38, x38, None, None, ones(2)), V, r"rstd has .*expected \(3,\)"),
    "norm: no rstd": (lambda: norm_backward(x38, x38, None, None, None), T, "rstd is None"),
    "norm: mean": (
        lambda: norm_backward(x38, x38, None, np.ones(3), ones(3)), T, "mean is float64"),
    "reduce: axes": (lambda: reduce_sum(x38, np.array([0, 1])), T, "axis is ndarray"),
    "reduce: bool": (lambda: reduce_sum(x38, False), T, "axis is bool"),
    "reduce: rows": (lambda: sum_rows(x38), V, "x has shape .* expected 3 axes"),
    "reduce: rows of float64": (lambda: sum_rows(np.ones((1, 3, 8))), T, "x is float64"),
    "softmax: axes": (lambda: softmax.forward(x38, axis=np.array([0, 1])), T, "axis is ndarray"),
    # Products
    "product: alpha": (lambda: product(alpha=None), T, "alpha is NoneType; expected a number"),
    "product: alpha of text": (lambda: product(alpha="3"), T, "alpha is str"),
    "product: alpha of a list": (lambda: product(alpha=[2]), T, "alpha is list"),
    "product: alpha, 16 bits": (lambda: product(dtype=F16, alpha=[2]), T, "alpha is list"),
    "product: alpha too large": (lambda: product(alpha=1e50), V, r"alpha is 1e\+50"),
    "product: huge alpha": (lambda: product(alpha=HUGE), V, "alpha is 1000"),
    "product: complex alpha": (lambda: product(alpha=2j), T, "alpha is complex"),
    "product: beta": (
        lambda: product(beta=np.array([2.0, 3.0]), c=ones(4, 4)), T, "beta is ndarray"),
    "product: beta, 16 bits": (
        lambda: product(dtype=F16, beta=True, c=ones(4, 4, dtype=F16)), T, "beta is bool"),
    "product: activation": (
        lambda: product(activation=np.array(["relu"])), V, "activation is array"),
    "product: transpose": (lambda: product(transpose=np.array(["N", "N"])), V, "transpose is arr"),
    "product: bias": (lambda: product(bias=ones(6)), V, r"bias has shape \(6,\); expected \(4,\)"),
    "product: tiles": (
        lambda: PRODUCTS[5].launch(ones(136, 8), ones(8, 136), ones(136, 136)), V,
        "M, N, K = 136, 136, 8; expected multiples of 128, 128, 8"),
    "product: tiles of mma": (
        lambda: matmul_tensor.LADDER[0].launch(
            ones(136, 32, dtype=F16), ones(32, 136, dtype=F16), ones(136, 136, dtype=F16)), V,
        "M, N, K = 136, 136, 32"),
    "product: tiles with ldmatrix": (
        lambda: matmul_tensor.LADDER[1].launch(
            ones(128, 40, dtype=F16), ones(40, 128, dtype=F16), ones(128, 128, dtype=F16)), V,
        "M, N, K = 128, 128, 40"),
    # Attention
    "flash: scale too small": (lambda: flash(scale=1e-50), V, "scale is 1e-50"),
    "flash: scale too large": (lambda: flash(scale=2.4e38), V, r"scale is 2.4e\+38"),
    "flash: scale of text": (lambda: flash(scale="0.5"), T, "scale is str"),
    "flash: causal": (lambda: flash(causal="no"), T, "causal is str; expected True or False"),
    "flash: causal array": (lambda: flash(causal=np.array([1, 0])), T, "causal is ndarray"),
    "backward: scale": (lambda: flash_backward(scale=1e39), V, r"scale is 1e\+39"),
    "backward: scale, 16 bits": (lambda: flash_backward(F16, scale=1e-50), V, "scale is 1e-50"),
    "backward: scale of text": (lambda: flash_backward(scale="0.5"), T, "scale is str"),
    "backward: causal": (lambda: flash_backward(causal=2), T, "causal is int"),
    "backward: one of tiles": (lambda: flash_backward(tiles=1), T, "tiles are 1; expected two"),
    "backward: numbers as tiles": (lambda: flash_backward(tiles=(1, 2)), T, r"tiles are \(1, 2\)"),
    "backward: text as tiles": (lambda: flash_backward(tiles="ab"), T, "tiles are 'ab'"),
    "backward: three tiles": (
        lambda: flash_backward(tiles=[Patches(4, 4, 2, 2, 1)] * 3), T, "expected two Patches"),
    "backward: others' tiles": (
        lambda: flash_backward(tiles=[Tiles(2, 1, 16, False, 1)] * 2), T, "Patches for float32"),
    "decode: scale": (lambda: decode(scale=1e39), V, r"scale is 1e\+39"),
    "decode: infinite scale": (lambda: decode(scale=np.inf), V, "scale is inf"),
    "decode: scale of NaN": (lambda: decode(F16, scale=np.nan), V, "scale is nan"),
    "decode: no positive scale": (lambda: decode(scale=-1), V, "scale is -1"),
    "decode: scale of text": (lambda: decode(scale="0.5"), T, "scale is str"),
    "decode: parts": (lambda: decode(parts=1.5), T, "parts is float; expected an integer"),
    "decode: parts of text": (lambda: decode(parts="2"), T, "parts is str"),
    "decode: parts of truth": (lambda: decode(parts=True), T, "parts is bool"),
    "attention: two axes": (lambda: attention.forward(ones(5, 8), q, q), V, "q has shape"),
    "attention: list": (lambda: attention.forward([1], q, q), T, "q is list"),
    "attention: mask": (lambda: attention.forward(q, q, q, [1]), T, "mask is list"),
    "fp8: rows": (lambda: flash_fp8.rounded(x38, rows=-1), V, "rows is -1"),
    "fp8: H": (lambda: flash_fp8.spreading(8.0, None), T, "H is float; expected an integer"),
    # Few bits
    "quantize: complex": (lambda: quantize(np.full((32, 8), 1j)), T, "w is complex128"),
    "quantize: integers": (lambda: quantize(ones(32, 8, dtype=int)), T, "w is int64"),
    "quantize: text": (lambda: quantize(np.full((32, 8), "1")), T, "w is str"),
    "quantize: nothing": (lambda: quantize(ones(0, 8)), V, r"w has shape \(0, 8\)"),
    "quantize: group": (lambda: quantize(ones(32, 8), 4, 32.0), T, "group is float"),
    "quantize: minima": (lambda: quantize(ones(32, 8), 4, 32, "no"), T, "minima is str"),
    "few bits: array": (lambda: times(weight=ones(32, 8)), T, "weight is ndarray; expected a Q"),
    "few bits: tuple": (lambda: times(weight=(1, 2, 3)), T, "weight is tuple"),
    "few bits: unsigned": (lambda: times(weight=weight(**fours)), V, r"\(64, 8\) of 4 bits"),
    "few bits: no values": (lambda: times(weight=QuantizedWeight(None, x1)), T, "values is None"),
    "few bits: no x": (lambda: quantized_matmul(None, weight()), T, "x is None"),
    "few bits: tiles": (lambda: times(tiles=-1), V, "tiles is -1"),
    "few bits: no tiles": (lambda: times(tiles=0), V, "tiles is 0"),
    "few bits: halves": (lambda: times(tiles=1.5), T, "tiles is float"),
    "few bits: warps": (lambda: times(warps=0), V, "warps is 0"),
    "few bits: stages": (lambda: times(stages=1), V, "stages is 1; expected 2 to 5"),
    "few bits: no scales": (
        lambda: dequantize(weight(scales=ones(0, 8, dtype=F16))), V, "0 scales for 32 inputs"),
    "few bits: three scales": (
        lambda: dequantize(weight(np.ones((8, 64), np.int8), ones(3, 8, dtype=F16))), V,
        "3 scales for 64 inputs; expected 1, or one for each 32, 64 or 128"),
    "few bits: no weight": (lambda: dequantize(None), T, "weight is NoneType"),
    # Launches
    "launch: long integer": (lambda: launch(factor=2**70), V, "double: factor is 118"),
    "launch: 2**63": (lambda: launch(factor=2**63), V, "integer of 64 bits"),
    "launch: large float": (lambda: launch(factor=1e300), V, r"double: factor is 1e\+300"),
    "launch: long double": (lambda: launch(np.ones(4, np.longdouble)), T, "double: x holds"),
    "launch: long number": (lambda: launch(factor=np.longdouble(1)), T, "double: factor holds"),
    "launch: structure": (lambda: launch(np.zeros(4, [("a", F32)])), T, "double: x holds"),
    "launch: bytes": (lambda: launch(np.zeros(4, "V4")), T, "double: x holds"),
    "launch: shared of 1.9": (lambda: launch(shared=1.9), T, "dynamic shared memory is float"),
    "launch: shared of text": (lambda: launch(shared="8"), T, "dynamic shared memory is str"),
    "launch: shared of truth": (lambda: launch(shared=True), T, "dynamic shared memory is bool"),
    "launch: no shared": (lambda: launch(shared=None), T, "dynamic shared memory is NoneType"),
    "launch: grid of truth": (lambda: launch(grid=True), V, "grid is True"),
    "launch: block of truth": (lambda: launch(block=(True, 8)), V, r"block is \(True, 8\)"),
    "kernel: bounds of text": (
        lambda: cuda.jit(launch_bounds="64")(double.function), T, "launch_bounds is str"),
    "kernel: no bounds": (lambda: cuda.jit(launch_bounds=())(double.function), T, "launch_bounds"),
    "kernel: negative bounds": (
        lambda: cuda.jit(launch_bounds=-1)(double.function), V, "launch_bounds is -1"),
    "kernel: number": (lambda: cuda.jit(5), T, "cuda.jit: 5 is no function"),
    "kernel: any arguments": (lambda: cuda.jit(lambda *x: None), T, "cuda.jit: .* so many argum"),
}  # fmt: skip


@pytest.mark.parametrize("what", CASES)
def test_bad_input_is_refused_before_launch(what):
    call, error, message = CASES[what]
    with watching() as reports, pytest.raises(error, match=message):
        call()
    assert not reports


def test_numpy_numbers_are_numbers():
    want = product(alpha=0.5, beta=2.0, c=ones(4, 4))
    np.testing.assert_array_equal(product(alpha=F16(0.5), beta=np.int8(2), c=ones(4, 4)), want)
    np.testing.assert_array_equal(flash(causal=1)[0], flash(causal=np.True_)[0])


def test_an_unsigned_target_never_wraps_to_the_one_ignored():
    targets = np.array([0, 2**64 - 100, 7], np.uint64)
    with pytest.raises(IndexError, match=r"18446744073709551516 at \(1,\); expected 0 to 7"):
        loss(targets=targets)
    targets[1] = 3
    assert loss(targets=targets)[0] == loss(targets=targets.astype(np.int64))[0]


@pytest.mark.parametrize("rung", LADDER, ids=lambda rung: rung.name)
@pytest.mark.parametrize("where", ["key", "mask"])
def test_nan_among_what_a_query_sees_is_nan(rung, where):
    dtype = np.dtype(ml_dtypes.bfloat16 if "bfloat16" in rung.dtypes else F32)
    queries, keys = ones(1, 1, 2, 32, dtype=dtype), ones(1, 1, 2, 32, dtype=dtype)
    values = np.arange(64, dtype=dtype).reshape(keys.shape)
    mask = np.array([[0, np.nan], [0, -np.inf]], F32)
    if where == "key":
        keys[0, 0, 1], mask = np.nan, np.array([[True, True], [True, False]])
    out, lse = attend(rung, queries, keys, values, mask=mask)
    assert np.isnan(out[0, 0, 0].astype(F32)).all() and np.isnan(lse[0, 0, 0])
    if where == "mask":  # the second query does not see that key
        np.testing.assert_array_equal(out[0, 0, 1], values[0, 0, 0])


def test_attention_takes_the_plain_way_for_what_the_kernels_refuse():
    takes = lambda **options: attention.supports(
        q, q, q, None, **dict(causal=False, scale=None) | options
    )
    assert takes() and takes(scale=0.5)
    assert not any(takes(scale=scale) for scale in (-1, 0, 1e39, 1e-50, HUGE, np.nan, "0.5"))


def test_the_gradient_of_no_mask_is_none():
    _, saved = attention.forward(q, q, q)
    *grads, of_mask = attention.backward(q, saved, needs=(True,) * 4)
    assert of_mask is None and all(grad.shape == q.shape for grad in grads)


def test_empty_rows_have_a_mean_of_nan():
    _, (_, _, mean, rstd) = layer_norm.forward(ones(3, 0))
    assert mean.shape == rstd.shape == (3,) and np.isnan(mean).all() and np.isnan(rstd).all()
    dx, dweight, dbias = norm_backward(ones(3, 0), ones(3, 0), None, mean, rstd)
    assert dx.shape == (3, 0) and dweight.shape == dbias.shape == (0,)
    assert sum_rows(ones(0, 3, 8)).shape == (0, 8)


def test_weights_of_no_outputs_have_a_shape():
    for bits, group in ((8, None), (4, 32)):
        weight = quantize(ones(32, 0), bits, group)
        assert dequantize(weight).shape == weight.shape == (32, 0)
    assert from_gguf(np.zeros((0, 18), np.uint8), "Q4_0").shape == (32, 0)
    assert flash_fp8.rounded(ones(0, 8)).shape == (0, 8)


@pytest.mark.parametrize(("bits", "group", "most"), [(8, None, 3.7e-6), (4, 32, 2.3e-7)])
def test_what_is_too_small_for_a_scale_becomes_zero(bits, group, most):
    w = np.full((32, 8), most, F32)
    assert not dequantize(quantize(w, bits, group)).any()
    assert (dequantize(quantize(1.1 * w, bits, group)) > most / 2).all()


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("factor", "error", "message"),
    [
        (None, T, "double: factor is a NoneType"),
        ("2", T, "double: factor is a str"),
        (np.complex64(2), T, "double: factor holds complex64"),
        (2**63, V, "double: factor is 9223372036854775808"),
        (1e300, V, "double: factor is 1e"),
        (misplaced(4), T, "factor is a NumPy array among CuPy arrays"),
    ],
)
def test_launches_on_the_gpu_refuse_the_same(factor, error, message):
    cupy = pytest.importorskip("cupy")
    x = cupy.ones(4, F32)
    double[1, 32](x, 2.0, x)  # a float has been compiled for
    with pytest.raises(error, match=message):
        double[1, 32](x, factor, x)
    with pytest.raises(ValueError, match="double: out is not aligned"):
        double[1, 32](x, 2.0, cupy.zeros(17, np.uint8)[1:].view(F32))
