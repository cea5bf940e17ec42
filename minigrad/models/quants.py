"""Weights stored in few bits, and how they become floats: the kinds of tensors in GGUF files.

A quantized row is a chain of blocks of 32 or 256 values. A block holds a scale d (and, in the
kinds ending in 1 and K, a minimum or further scales) and the values as small integers q; a value is
d·q, d·q + m, or d·scale·q − dmin·min. Source: ggml's ``ggml-quants.c``.
"""

from collections.abc import Callable
from typing import NamedTuple

import ml_dtypes
import numpy as np

from minigrad.cpu.threads import parallel_rows

TILE = 64 * 1024  # values that one thread decodes at a time: their floats fit into its cache
COST = 0.7  # nanoseconds a value


def dequantize(raw, kind, out, transpose=False):
    """Write the floats of a tensor into ``out``, rounding where its dtype is narrower.

    Args:
        raw: uint8 (rows, bytes per row), or whatever has that ``shape`` and gives such an array
            for a slice of rows; it is asked for a few rows at a time.
        kind: a Kind, the format of a row.
        out: a C-contiguous float array, (rows, columns), or (columns, rows) to transpose.
        transpose: whether to.

    Raises ValueError for a kind that is not read here, and for a value that is not finite, or too
    large for the dtype of ``out``.
    """
    if not kind.readable:
        known = ", ".join(each.name for each in KINDS.values() if each.readable)
        raise ValueError(f"{kind.name} cannot be read here; these kinds can: {known}")
    rows, columns = out.shape[::-1] if transpose else out.shape
    if columns % kind.block or raw.shape != (rows, columns // kind.block * kind.nbytes):
        raise ValueError(f"{raw.shape} bytes of {kind.name} are not {rows} rows of {columns}")
    if not out.flags.carray:
        raise ValueError("out must be C-contiguous and writable")
    step = max(1, TILE // max(columns, 1))
    step = -(-step // 16) * 16 if transpose else step  # whole cache lines of a column
    convert = _convert_rows if kind.decode is None else _decode_rows
    parallel_rows(convert, rows, raw, kind, out, transpose, step, cost=COST * columns, grain=step)


def _convert_rows(start, stop, raw, kind, out, transpose, step):
    target = out.T if transpose else out
    for first in range(start, stop, step):
        last = min(first + step, stop)
        values = raw[first:last].view(kind.dtype)
        with np.errstate(all="ignore"):
            target[first:last] = values
            _check(values, target[first:last], kind, raw, first)


def _decode_rows(start, stop, raw, kind, out, transpose, step):
    columns, rows = out.shape if transpose else out.shape[::-1]
    blocks = columns // kind.block
    buffer = np.empty(columns * min(step, stop - start), np.float32)
    for first in range(start, stop, step):
        last = min(first + step, stop)
        n = last - first
        given = raw[first:last].reshape(n, blocks, kind.nbytes)
        values = buffer[: columns * n]
        if transpose:
            given, values = given.T, values.reshape(kind.block, blocks, n)
            target = out.reshape(blocks, kind.block, rows)[:, :, first:last].swapaxes(0, 1)
        else:
            given, values = given.transpose(2, 0, 1), values.reshape(kind.block, n, blocks)
            target = out[first:last].reshape(n, blocks, kind.block).transpose(2, 0, 1)
        with np.errstate(all="ignore"):
            kind.decode(np.ascontiguousarray(given), values)
            target[...] = values
            _check(values, target, kind, raw, first)


def _check(values, written, kind, raw, first):
    """Raise ValueError that names the first value of a tile that was not finite when written."""
    # The decoded values are still at hand, in one piece; but what is written may be narrower.
    seen = values if written.itemsize >= values.itemsize and values.itemsize > 2 else written
    if -np.inf < seen.min() and seen.max() < np.inf:  # False for NaN
        return
    limit = float(ml_dtypes.finfo(written.dtype).max)
    for row in range(first, raw.shape[0]):
        one = np.empty((1, raw.shape[1] // kind.nbytes * kind.block), np.float64)
        _exactly(raw[row : row + 1], kind, one)
        wrong = ~(np.abs(one[0].astype(written.dtype).astype(np.float64)) <= limit)
        if wrong.any():
            column = int(wrong.argmax())
            value = one[0, column]
            reason = f"does not fit into {written.dtype}" if np.isfinite(value) else "is not finite"
            where = f"row {row}, column {column}" if one.size > 1 else f"index {row}"
            raise ValueError(f"the value at {where} is {value:g}: it {reason}")


def _exactly(raw, kind, out):
    """One row, without looking at what comes out."""
    if kind.decode is None:
        out[...] = raw.view(kind.dtype)
        return
    values = np.empty((kind.block, raw.size // kind.nbytes), np.float32)
    kind.decode(np.ascontiguousarray(raw.reshape(-1, kind.nbytes).T), values)
    out[...] = values.T.reshape(out.shape)


def _half(b):
    """float32 of the float16 in two bytes: (2, …) -> (…)."""
    return (b[0] | b[1].astype(np.uint16) << 8).view(np.float16).astype(np.float32)


def _nibbles(b, out):
    """16 bytes a block to 32 values: first the low halves, then the high ones."""
    np.bitwise_and(b, 15, out=out[:16], casting="unsafe")
    np.right_shift(b, 4, out=out[16:], casting="unsafe")


# A decoder is given bytes (bytes of a block, …) and writes float32 (values of a block, …). The
# place in the block comes first so that each step is one operation over all blocks.


def _q4_0(b, out):
    _nibbles(b[2:], out)
    out -= 8
    out *= _half(b)


def _q4_1(b, out):
    _nibbles(b[4:], out)
    out *= _half(b)
    out += _half(b[2:])


def _fifth_bits(b):
    """The bits of 4 bytes as 32 numbers, 0 or 16."""
    return np.unpackbits(b, axis=0, bitorder="little") << 4


def _q5_0(b, out):
    _nibbles(b[6:], out)
    out += _fifth_bits(b[2:6])
    out -= 16
    out *= _half(b)


def _q5_1(b, out):
    _nibbles(b[8:], out)
    out += _fifth_bits(b[4:8])
    out *= _half(b)
    out += _half(b[2:])


def _q8_0(b, out):
    np.multiply(b[2:].view(np.int8), _half(b), out=out)


def _k_scales(b):
    """Eight 6-bit scales and eight 6-bit minima from 12 bytes: each (8, …)."""
    low, high, mixed = b[0:4], b[4:8], b[8:12]
    scales = [low & 63, (mixed & 15) | (low >> 2 & 48)]
    minima = [high & 63, (mixed >> 4) | (high >> 2 & 48)]
    return np.concatenate(scales), np.concatenate(minima)


def _q4_k(b, out, high_bits=None):
    scales, minima = _k_scales(b[4:16])
    d, dmin = _half(b), _half(b[2:])
    q = b[-128:].reshape(4, 32, *b.shape[1:])
    for i in range(8):
        part = out[32 * i : 32 * i + 32]
        part[...] = q[i // 2] >> 4 if i % 2 else q[i // 2] & 15
        if high_bits is not None:
            part += (high_bits >> i & 1) << 4
        part *= d * scales[i]
        part -= dmin * minima[i]


def _q5_k(b, out):
    _q4_k(b, out, high_bits=b[16:48])


def _q6_k(b, out):
    d, scales = _half(b[208:]), b[192:208].view(np.int8)
    for i in range(8):
        half, quarter = divmod(i, 4)
        low = b[64 * half + 32 * (quarter % 2) :][:32]
        low = low >> 4 if quarter // 2 else low & 15
        high = b[128 + 32 * half :][:32] >> 2 * quarter & 3
        part = out[32 * i : 32 * i + 32]
        part[...] = low | high << 4
        part -= 32
        part[:16] *= d * scales[2 * i]
        part[16:] *= d * scales[2 * i + 1]


class Kind(NamedTuple):
    """How values are stored: ``block`` of them in ``nbytes``.

    ``decode`` is the decoder of a quantized kind, ``dtype`` that of a plain one; a kind that has
    neither is known by its size alone.
    """

    name: str
    block: int
    nbytes: int
    decode: Callable | None = None
    dtype: np.dtype | None = None

    @property
    def readable(self):
        """Whether ``dequantize`` takes it."""
        return self.decode is not None or self.dtype is not None


def _plain(name, dtype):
    return Kind(name, 1, np.dtype(dtype).itemsize, dtype=np.dtype(dtype).newbyteorder("<"))


F64, F32, F16 = _plain("F64", np.float64), _plain("F32", np.float32), _plain("F16", np.float16)
BF16 = _plain("BF16", ml_dtypes.bfloat16)

# By the numbers that stand for them in a file.
KINDS = {
    0: F32,
    1: F16,
    2: Kind("Q4_0", 32, 18, _q4_0),
    3: Kind("Q4_1", 32, 20, _q4_1),
    6: Kind("Q5_0", 32, 22, _q5_0),
    7: Kind("Q5_1", 32, 24, _q5_1),
    8: Kind("Q8_0", 32, 34, _q8_0),
    9: Kind("Q8_1", 32, 36),
    10: Kind("Q2_K", 256, 84),
    11: Kind("Q3_K", 256, 110),
    12: Kind("Q4_K", 256, 144, _q4_k),
    13: Kind("Q5_K", 256, 176, _q5_k),
    14: Kind("Q6_K", 256, 210, _q6_k),
    15: Kind("Q8_K", 256, 292),
    16: Kind("IQ2_XXS", 256, 66),
    17: Kind("IQ2_XS", 256, 74),
    18: Kind("IQ3_XXS", 256, 98),
    19: Kind("IQ1_S", 256, 50),
    20: Kind("IQ4_NL", 32, 18),
    21: Kind("IQ3_S", 256, 110),
    22: Kind("IQ2_S", 256, 82),
    23: Kind("IQ4_XS", 256, 136),
    24: Kind("I8", 1, 1),
    25: Kind("I16", 1, 2),
    26: Kind("I32", 1, 4),
    27: Kind("I64", 1, 8),
    28: F64,
    29: Kind("IQ1_M", 256, 56),
    30: BF16,
    34: Kind("TQ1_0", 256, 54),
    35: Kind("TQ2_0", 256, 66),
    39: Kind("MXFP4", 32, 17),
}
