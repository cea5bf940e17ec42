"""GGUF files, read in place: metadata, tensor infos, and the tensors' bytes as views of the file.

A file is a header (magic, version, two counts), metadata as keys with typed values, one info for
each tensor (name, sizes, quantization type, offset), and the tensors' bytes, aligned. All numbers
are little-endian. Every count, length and offset is held against the file's size before anything
is made from it. Source: the GGUF specification, https://github.com/ggml-org/ggml/blob/master/docs
"""

import array
import math
import mmap
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minigrad.models import quants
from minigrad.models.source import Info, Source

MAGIC = b"GGUF"
VERSIONS = (2, 3)
STRING, ARRAY, BOOL = 8, 9, 7
# The struct format of each type of number, by what stands for it in a file.
NUMBERS = dict(zip((0, 1, 2, 3, 4, 5, 6, BOOL, 10, 11, 12), "BbHhIifBQqd"))
FORMATS = {code: struct.Struct("<" + char) for code, char in NUMBERS.items()}
LENGTH = struct.Struct("<Q")
MOST_AXES = 4
SMALLEST_ENTRY = 8 + 4 + 1  # bytes: an empty key, the type, a one-byte value
SMALLEST_INFO = 8 + 4 + 4 + 8  # an empty name, no axes, the type, the offset


class GGUF(Source):
    """An open GGUF file.

    ``metadata``: {key: number, bool, str, read-only array, or Strings}. ``tensors``: {name: Info}.
    Strings and tensors stay in the file, which is mapped into memory, until they are asked for.

    Raises FileNotFoundError, and ValueError that says what is wrong with the file and at which
    byte: foreign, of another version or byte order, truncated, overlong, or inconsistent.
    """

    def __init__(self, path):
        self.path = Path(path)
        with open(path, "rb") as file:
            size = file.seek(0, 2)
            if size < 24:
                raise ValueError(f"{path}: not a GGUF file: {size} bytes, the header alone is 24")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        cursor = _Cursor(self.path, self._map)
        tensor_count, entry_count = _header(cursor)
        self.metadata = _metadata(cursor, entry_count)
        self.tensors = _infos(cursor, tensor_count, _alignment(cursor, self.metadata))

    def raw(self, name):
        """The bytes of a tensor as they stand in the file: uint8 (rows, bytes per row), a row for
        each index of all axes but the last. Read-only, and a view. Raises KeyError."""
        info = self.tensors[name]
        data = np.frombuffer(self._map, np.uint8, info.nbytes, info.offset)
        return data.reshape(math.prod(info.shape[:-1]), -1)

    def rows(self, place):
        """The bytes of a Place's rows: uint8 (rows, bytes per row), of one value for each row of a
        vector."""
        raw, info = self.raw(place.tensor), self.tensors[place.tensor]
        if len(info.shape) == 1 and info.kind.block == 1:
            raw = raw.reshape(info.shape[0], -1)
        index, count = place.part
        raw = raw.reshape(count, -1, raw.shape[1])[index]
        if place.heads:  # (heads, H / 2, 2, …) -> (heads, 2, H / 2, …): halves instead of pairs
            pairs = raw.reshape(place.heads, -1, 2, raw.shape[1])
            raw = pairs.swapaxes(1, 2).reshape(raw.shape)
        return raw

    def __repr__(self):
        return f"GGUF({str(self.path)!r}, {len(self.tensors)} tensors)"


class Strings(Sequence):
    """The strings of a metadata array, decoded when asked for.

    Raises ValueError, at that moment, for one that is not UTF-8.
    """

    def __init__(self, path, key, buffer, starts):
        self._path, self._key, self._buffer, self._starts = path, key, buffer, starts

    def __len__(self):
        return len(self._starts)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        start = self._starts[index]
        (length,) = LENGTH.unpack_from(self._buffer, start)
        try:
            return self._buffer[start + 8 : start + 8 + length].decode()
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self._path}: string {index} of metadata {self._key} at byte {start:,} is not "
                f"UTF-8: {error}"
            ) from error

    def __repr__(self):
        return f"<{len(self):,} strings of {self._key}>"


class _Cursor:
    """A place in a file, which moves on as numbers and strings are read."""

    def __init__(self, path, buffer):
        self.path, self.buffer, self.at, self.size = path, buffer, 0, len(buffer)

    def error(self, message, at=None):
        """A ValueError that names the file and the byte."""
        return ValueError(f"{self.path}: byte {self.at if at is None else at:,}: {message}")

    def need(self, count, what):
        """Raise ValueError unless ``count`` more bytes are there."""
        if count > self.size - self.at:
            raise self.error(
                f"truncated or damaged: {what} would take {count:,} bytes, the file has "
                f"{self.size - self.at:,} more"
            )

    def number(self, code, what):
        form = FORMATS[code]
        self.need(form.size, what)
        (value,) = form.unpack_from(self.buffer, self.at)
        self.at += form.size
        return value

    def count(self, smallest, what):
        """A 64-bit count of things that take at least ``smallest`` bytes each."""
        value = self.number(10, f"the number of {what}")
        self.need(value * smallest, f"{value:,} {what}")
        return value

    def string(self, what):
        start, length = self.at, self.count(1, f"bytes of {what}")
        self.at += length
        try:
            return self.buffer[self.at - length : self.at].decode()
        except UnicodeDecodeError as error:
            raise self.error(f"{what} is not UTF-8: {error}", start) from error


def _header(cursor):
    """(number of tensors, number of metadata entries)."""
    magic = cursor.buffer[:4]
    if magic != MAGIC:
        raise cursor.error(f"not a GGUF file: it begins with {magic!r}, expected {MAGIC!r}")
    cursor.at = 4
    version = cursor.number(4, "the version")
    if int.from_bytes(version.to_bytes(4, "big"), "little") in (1, *VERSIONS):
        raise cursor.error("a GGUF file for big-endian machines; expected little-endian", 4)
    if version not in VERSIONS:
        raise cursor.error(f"GGUF version {version}; expected 2 or 3", 4)
    return (
        cursor.number(10, "the number of tensors"),
        cursor.count(SMALLEST_ENTRY, "metadata entries"),
    )


def _metadata(cursor, count):
    metadata = {}
    for i in range(count):
        start = cursor.at
        key = cursor.string(f"the key of metadata entry {i}")
        if key in metadata:
            raise cursor.error(f"metadata {key} for the second time", start)
        code = cursor.number(4, f"the type of metadata {key}")
        metadata[key] = _array(cursor, key) if code == ARRAY else _value(cursor, code, key)
    return metadata


def _value(cursor, code, key):
    start = cursor.at
    if code == STRING:
        return cursor.string(f"metadata {key}")
    if code not in NUMBERS:
        raise cursor.error(f"metadata {key} has type {code}; expected 0 to 12", start - 4)
    value = cursor.number(code, f"metadata {key}")
    if code == BOOL and value > 1:
        raise cursor.error(f"metadata {key} is a bool of value {value}; expected 0 or 1", start)
    return bool(value) if code == BOOL else value


def _array(cursor, key):
    start = cursor.at
    code = cursor.number(4, f"the element type of metadata {key}")
    if code == STRING:
        return _strings(cursor, key)
    if code not in NUMBERS:
        raise cursor.error(
            f"metadata {key} is an array of type {code}; expected numbers, bools or strings", start
        )
    dtype = np.dtype("<" + NUMBERS[code]).newbyteorder("<")
    count = cursor.count(dtype.itemsize, f"elements of metadata {key}")
    values = np.frombuffer(cursor.buffer, dtype, count, cursor.at) if count else np.empty(0, dtype)
    if code == BOOL and count and values.max() > 1:
        raise cursor.error(f"metadata {key} has a bool of value {values.max()}; expected 0 or 1")
    cursor.at += values.nbytes
    return values.astype(bool) if code == BOOL else values


def _strings(cursor, key):
    count = cursor.count(8, f"strings of metadata {key}")
    starts, at, size, unpack = array.array("Q"), cursor.at, cursor.size - 8, LENGTH.unpack_from
    buffer, append = cursor.buffer, starts.append
    for i in range(count):
        if at > size:
            cursor.at = starts[-1] if i else cursor.at
            raise cursor.error(
                f"truncated or damaged: string {max(i - 1, 0):,} of the {count:,} in metadata "
                f"{key} would end at byte {at:,}, the file ends at {cursor.size:,}"
            )
        append(at)
        at += 8 + unpack(buffer, at)[0]
    if at > cursor.size:
        raise cursor.error(
            f"truncated or damaged: metadata {key} would end at byte {at:,}, the file ends at "
            f"{cursor.size:,}"
        )
    cursor.at = at
    return Strings(cursor.path, key, buffer, starts)


def _alignment(cursor, metadata):
    value = metadata.get("general.alignment", 32)
    if type(value) is not int or value < 1 or value & (value - 1):
        raise ValueError(
            f"{cursor.path}: metadata general.alignment is {value!r}; expected a power of two"
        )
    return value


def _infos(cursor, count, alignment):
    cursor.need(count * SMALLEST_INFO, f"the infos of {count:,} tensors")
    infos, starts = {}, {}
    for i in range(count):
        start = cursor.at
        info = _info(cursor, i)
        if info.name in infos:
            raise cursor.error(f"tensor {info.name} for the second time", start)
        infos[info.name], starts[info.name] = info, start
    data = -(-cursor.at // alignment) * alignment
    placed = {name: info._replace(offset=data + info.offset) for name, info in infos.items()}
    _check_places(cursor, placed, starts, data if count else cursor.at, alignment)
    return placed


def _info(cursor, i):
    """The next info; its offset still counts from the start of the tensors' bytes."""
    name = cursor.string(f"the name of tensor {i}")
    start, axes = cursor.at, cursor.number(4, f"the number of axes of tensor {name}")
    if not 1 <= axes <= MOST_AXES:
        raise cursor.error(f"tensor {name} has {axes} axes; expected 1 to {MOST_AXES}", start)
    sizes = [cursor.number(10, f"the sizes of tensor {name}") for _ in range(axes)]
    start, code = cursor.at, cursor.number(4, f"the type of tensor {name}")
    if code not in quants.KINDS:
        raise cursor.error(f"tensor {name} has the unknown quantization type {code}", start)
    kind = quants.KINDS[code]
    if 0 in sizes:
        raise cursor.error(f"tensor {name} has sizes {sizes}; expected at least 1 each", start)
    if sizes[0] % kind.block:
        raise cursor.error(
            f"tensor {name} has rows of {sizes[0]:,}; {kind.name} needs a multiple of {kind.block}",
            start,
        )
    nbytes = math.prod(sizes) // kind.block * kind.nbytes
    if nbytes > cursor.size:
        raise cursor.error(
            f"tensor {name} of sizes {sizes} in {kind.name} would take {nbytes:,} bytes, the file "
            f"has {cursor.size:,}",
            start,
        )
    offset = cursor.number(10, f"the offset of tensor {name}")
    return Info(name, tuple(reversed(sizes)), kind, offset, nbytes)


def _check_places(cursor, infos, starts, data, alignment):
    """Each tensor begins where the one before it ends, rounded up; the last ends with the file."""
    end = data
    for info in sorted(infos.values(), key=lambda info: (info.offset, info.nbytes)):
        expected = -(-end // alignment) * alignment
        if info.offset != expected:
            raise cursor.error(
                f"tensor {info.name} is said to begin at byte {info.offset:,}; expected "
                f"{expected:,}, where the tensor before it ends",
                starts[info.name],
            )
        end = info.offset + info.nbytes
        if end > cursor.size:
            raise cursor.error(
                f"truncated: tensor {info.name} ends at byte {end:,}, the file has "
                f"{cursor.size:,} bytes",
                starts[info.name],
            )
    if cursor.size > -(-end // alignment) * alignment:
        raise ValueError(
            f"{cursor.path}: overlong: {cursor.size:,} bytes, its last tensor ends at {end:,}"
        )
