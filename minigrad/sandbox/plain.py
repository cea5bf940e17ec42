"""Plain values as bytes: all that passes between a trusted process and code nobody trusts.

Plain are None, bool, int, float, complex, str, NumPy arrays and scalars of numeric dtypes, and
nested tuples, lists and dicts of them. Types are matched exactly: a subclass is refused, so that
no method of anybody else's ever runs here, and `decode` builds every value anew from raw bytes,
each length checked against what is there. No pickle.

This file needs nothing but NumPy and is also read by a process that has no minigrad.
"""

import struct
from typing import NamedTuple

import numpy as np

MAX_DEPTH = 32
MAX_ITEMS = 1_000_000
MAX_BYTES = 1 << 24
MAX_INT_BYTES = 4096
#: so that no keys can be made for their hashes to collide
MAX_KEY = 1 << 60
NUMBERS = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64", "complex128"),
)
SCALARS = frozenset(np.sctypeDict.values())
SEQUENCES = {list: b"l", tuple: b"t"}


class NotPlainError(Exception):
    """A value, or bytes that should hold one, that is not plain."""


class Given(NamedTuple):
    """A function to be built on the other side: a factory's name and its plain arguments."""

    name: str
    arguments: tuple


def encode(value):
    """The bytes of a plain value; raises NotPlainError, with the place, where it is not plain."""
    pieces = []
    _encode(value, pieces, "the value", 0)
    data = b"".join(pieces)
    if len(data) > MAX_BYTES:
        raise NotPlainError(f"a value of {len(data):,} bytes; at most {MAX_BYTES:,} can pass")
    return data


def _encode(value, pieces, where, depth):
    kind = type(value)
    if depth > MAX_DEPTH:
        raise NotPlainError(f"{where} is nested more than {MAX_DEPTH} deep")
    if len(pieces) > MAX_ITEMS:
        raise NotPlainError(f"more than {MAX_ITEMS:,} items")
    if value is None:
        pieces.append(b"N")
    elif kind is bool:
        pieces.append(b"T" if value else b"F")
    elif kind is int:
        size = value.bit_length() // 8 + 1
        if size > MAX_INT_BYTES:
            raise NotPlainError(f"{where} is an int of {size:,} bytes")
        pieces.append(b"i" + struct.pack("<I", size) + value.to_bytes(size, "little", signed=True))
    elif kind is float:
        pieces.append(b"f" + struct.pack("<d", value))
    elif kind is complex:
        pieces.append(b"c" + struct.pack("<dd", value.real, value.imag))
    elif kind is str:
        text = value.encode("utf-8", "surrogatepass")
        pieces.append(b"s" + struct.pack("<I", len(text)) + text)
    elif kind in SEQUENCES:
        pieces.append(SEQUENCES[kind] + struct.pack("<I", len(value)))
        for i, item in enumerate(value):
            _encode(item, pieces, f"{where}[{i}]", depth + 1)
    elif kind is dict:
        pieces.append(b"d" + struct.pack("<I", len(value)))
        for key, item in value.items():
            if type(key) not in (str, int):
                raise NotPlainError(f"{where} has a key of type {type(key).__name__}")
            if type(key) is int and abs(key) > MAX_KEY:
                raise NotPlainError(f"{where} has a key that is too large")
            _encode(key, pieces, where, depth + 1)
            _encode(item, pieces, f"{where}[{key!r}]", depth + 1)
    elif kind is np.ndarray or kind in SCALARS:
        _encode_numbers(value, pieces, where)
    elif kind is Given:
        pieces.append(b"g")
        _encode(value.name, pieces, where, depth + 1)
        _encode(value.arguments, pieces, where, depth + 1)
    else:
        name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        raise NotPlainError(f"{where} is of type {name}")


def _encode_numbers(value, pieces, where):
    """A NumPy array or scalar: dtype, shape, then the elements in C order, little endian."""
    dtype = value.dtype.newbyteorder("<")
    if dtype.name not in NUMBERS:
        raise NotPlainError(f"{where} is an array of dtype {value.dtype}")
    if value.nbytes > MAX_BYTES:
        raise NotPlainError(f"{where} has {value.nbytes:,} bytes; at most {MAX_BYTES:,} can pass")
    tag = b"a" if type(value) is np.ndarray else b"n"
    array = np.asarray(value)
    pieces.append(tag + bytes([NUMBERS.index(dtype.name), array.ndim]))
    pieces.append(struct.pack(f"<{array.ndim}Q", *array.shape))
    pieces.append(array.astype(dtype).tobytes())


def decode(data, functions=False):
    """The plain value in some bytes, built anew; raises NotPlainError if they hold no such value.

    Args:
        data: bytes of `encode`, or anything at all.
        functions: whether a `Given` may be among the values.
    """
    reader = _Reader(data, functions)
    try:
        value = reader.value(0)
    except (struct.error, UnicodeDecodeError, ValueError, IndexError, OverflowError) as error:
        raise NotPlainError(f"bytes that hold no plain value: {error}") from None
    if reader.at != len(data):
        raise NotPlainError(f"{len(data) - reader.at} bytes after the value")
    return value


class _Reader:
    """Bytes and how far they are read."""

    def __init__(self, data, functions):
        self.data, self.at, self.items, self.functions = data, 0, 0, functions

    def take(self, size):
        if size > len(self.data) - self.at:
            raise NotPlainError(f"{size} bytes announced, {len(self.data) - self.at} there")
        self.at += size
        return self.data[self.at - size : self.at]

    def unpack(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))

    def value(self, depth):
        self.items += 1
        if depth > MAX_DEPTH or self.items > MAX_ITEMS:
            raise NotPlainError("too deep, or too many items")
        tag = self.take(1)
        if tag == b"N":
            return None
        if tag in (b"T", b"F"):
            return tag == b"T"
        if tag == b"i":
            (size,) = self.unpack("<I")
            if size > MAX_INT_BYTES:
                raise NotPlainError(f"an int of {size:,} bytes")
            return int.from_bytes(self.take(size), "little", signed=True)
        if tag == b"f":
            return self.unpack("<d")[0]
        if tag == b"c":
            return complex(*self.unpack("<dd"))
        if tag == b"s":
            return self.take(*self.unpack("<I")).decode("utf-8", "surrogatepass")
        if tag in (b"l", b"t"):
            (count,) = self.unpack("<I")
            values = [self.value(depth + 1) for _ in range(count)]
            return values if tag == b"l" else tuple(values)
        if tag == b"d":
            return self.dict(depth)
        if tag in (b"a", b"n"):
            return self.numbers(scalar=tag == b"n")
        if tag == b"g" and self.functions:
            return Given(self.value(depth + 1), self.value(depth + 1))
        raise NotPlainError(f"no value starts with the byte {tag!r}")

    def dict(self, depth):
        (count,) = self.unpack("<I")
        values = {}
        for _ in range(count):
            key = self.value(depth + 1)
            if type(key) not in (str, int) or (type(key) is int and abs(key) > MAX_KEY):
                raise NotPlainError(f"a key of type {type(key).__name__}, or too large")
            values[key] = self.value(depth + 1)
        return values

    def numbers(self, scalar):
        code, ndim = self.unpack("<BB")
        dtype = np.dtype(NUMBERS[code]).newbyteorder("<")
        shape = self.unpack(f"<{ndim}Q")
        count = 1
        for size in shape:
            count *= size
        array = np.frombuffer(self.take(count * dtype.itemsize), dtype).reshape(shape)
        array = array.astype(dtype.newbyteorder("="))
        return array[()] if scalar and not ndim else array
