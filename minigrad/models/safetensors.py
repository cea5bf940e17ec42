"""Named arrays in one file: the safetensors format, written whole or not at all, with a checksum.

The file is an 8-byte little-endian length, a JSON header of that length with each array's dtype,
shape and place, and the arrays' bytes. No code is ever run by reading one. The checksum stands
among the header's metadata, where other readers of the format pass over it.
"""

import hashlib
import json
import math
import operator

import ml_dtypes
import numpy as np

from minigrad import files

DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(bool),
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
NO_SUM = "0" * 64


def save(path, arrays, metadata=None):
    """Write {name: NumPy array} and {name: string} metadata to ``path``.

    An older file of that name is replaced only once the new one is on disk.
    Raises TypeError for a dtype that the format does not have.
    """
    header, offset = {"__metadata__": {"sha256": NO_SUM, **(metadata or {})}}, 0
    for name, array in arrays.items():
        if array.dtype not in NAMES:
            raise TypeError(f"{path}: safetensors has no dtype {array.dtype}, that of array {name}")
        header[name] = {
            "dtype": NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    text = text.replace(NO_SUM.encode(), _checksum(text, _blocks(arrays)).encode(), 1)
    with files.replacing(path) as file:
        file.write(len(text).to_bytes(8, "little"))
        file.write(text)
        for block in _blocks(arrays):
            file.write(block)


def _blocks(arrays):
    """The bytes of each array, in order; one that is not contiguous is copied while it is used."""
    for array in arrays.values():
        yield np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def load(path, needs_checksum=False):
    """Read ``path``: ({name: NumPy array}, {name: string} metadata).

    Files of other programs have no checksum; ``needs_checksum`` refuses them. Raises ValueError
    that names the file and what is wrong with it (foreign, truncated, damaged) and
    FileNotFoundError.
    """
    with open(path, "rb") as file:
        content = file.read()
    header, text, data = _header(path, content)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError(f"{path}: damaged: its metadata are not strings by name")
    arrays, end = {}, 0
    for name, entry in header.items():
        arrays[name] = _array(path, name, entry, data)
        end = max(end, entry["data_offsets"][1])
    if end != len(data):
        raise ValueError(f"{path}: {len(data):,} bytes of arrays, the header speaks of {end:,}")
    given = metadata.pop("sha256", None)
    if given is None and needs_checksum:
        raise ValueError(f"{path}: damaged, or written by another program: it has no checksum")
    if given is not None:
        blank = text.replace(given.encode(), NO_SUM.encode(), 1)
        if _checksum(blank, [data]) != given:
            raise ValueError(f"{path}: damaged: its bytes do not match its checksum")
    return arrays, metadata


def _header(path, content):
    size = int.from_bytes(content[:8], "little")
    if len(content) < 10 or content[8:9] != b"{":
        raise ValueError(f"{path}: not a safetensors file (a JSON header must start at byte 8)")
    if len(content) < 8 + size:
        raise ValueError(
            f"{path}: truncated: {len(content):,} bytes, the header alone needs {8 + size:,}"
        )
    text = content[8 : 8 + size]
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged: its header is not JSON ({error})") from error
    return header, text, memoryview(content)[8 + size :]


def _array(path, name, entry, data):
    try:
        dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
        start, end = map(operator.index, entry["data_offsets"])
        if any(operator.index(size) < 0 for size in shape):
            raise ValueError("a negative size")
        fits = 0 <= start <= end and end - start == math.prod(shape) * dtype.itemsize
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: damaged: bad entry for array {name}: {entry}") from error
    if not fits:
        raise ValueError(f"{path}: damaged: array {name} has impossible offsets: {entry}")
    if end > len(data):
        raise ValueError(
            f"{path}: truncated: array {name} ends at byte {end:,} of the arrays, "
            f"the file holds {len(data):,}"
        )
    return np.frombuffer(data[start:end], dtype).reshape(shape).copy()


def _checksum(text, blocks):
    digest = hashlib.sha256(text)
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()
