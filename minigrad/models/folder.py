"""Folders of weights as Hugging Face lays them out: config.json beside safetensors files.

The weights are one file, ``model.safetensors``, or several with ``model.safetensors.index.json``,
which says what is where. The ``safetensors`` package reads them, a few rows at a time.
"""

import json
import math
from pathlib import Path

import numpy as np

from minigrad.models import quants
from minigrad.models.source import Info, Source

SINGLE, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"
KINDS = {kind.name: kind for kind in (quants.F64, quants.F32, quants.F16, quants.BF16)}
OTHERS = {  # of the format, but no weights to us
    *(
        "BOOL",
        "U8",
        "I8",
        "U16",
        "I16",
        "U32",
        "I32",
        "U64",
        "I64",
        "C64",
        "F4",
        "F6_E2M3",
        "F6_E3M2",
    ),
    *("F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"),
}
MOST_AXES, LARGEST_SIZE = 32, 2**48
LARGEST_TEXT = 100_000_000  # bytes of a JSON file or header: more is damage or malice


class Folder(Source):
    """An open folder of weights.

    ``config``: what config.json says. ``tensors``: {name: Info}.

    Raises FileNotFoundError for a missing file, ModuleNotFoundError without safetensors, and
    ValueError that names the file, the tensor and the byte where something is wrong.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.config = read_json(self.path / CONFIG)
        self.tensors, self._files, self._homes = {}, {}, {}
        for file, names in _files(self.path).items():
            for info in _infos(file, names):
                if info.name in self._homes:
                    raise ValueError(
                        f"{file}: tensor {info.name} is in {self._homes[info.name].name} too"
                    )
                self.tensors[info.name], self._homes[info.name] = info, file
            self._files[file] = _open(file)

    def where(self, name):
        return self._homes[name]

    def rows(self, place):
        """The bytes of a Place's rows, read when sliced."""
        info = self.tensors[place.tensor]
        return _Rows(self._files[self._homes[place.tensor]].get_slice(place.tensor), info, place)


class _Rows:
    """Rows of a tensor in a safetensors file, as quants.dequantize takes them: a vector is a column
    of one value a row, a matrix loses the columns (or rows) that belong to other parts."""

    def __init__(self, file_slice, info, place):
        self._slice, shape, axis = file_slice, info.shape, place.out_axis(len(info.shape))
        part, count = place.part
        size = shape[axis] // count
        if axis == 0:
            self._first, rows, self._columns = part * size, size, None
            columns = math.prod(shape[1:])
        else:
            self._first, rows, columns = 0, math.prod(shape[:-1]), size
            self._columns = slice(part * size, part * size + size)
        self.shape = rows, columns * info.kind.nbytes

    def __getitem__(self, rows):
        rows = slice(self._first + rows.start, self._first + rows.stop)
        values = self._slice[rows] if self._columns is None else self._slice[rows, self._columns]
        values = np.ascontiguousarray(values).reshape(rows.stop - rows.start, -1)
        return values.view(np.uint8)


def read_json(path):
    """The object in a small JSON file. Raises FileNotFoundError, and ValueError for another thing
    than a JSON object."""
    path = Path(path)
    if path.stat().st_size > LARGEST_TEXT:
        raise ValueError(f"{path}: {path.stat().st_size:,} bytes of JSON are too many to be true")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: holds a JSON {type(content).__name__}; expected an object")
    return content


def _files(folder):
    """{file of weights: the names that the index expects in it, or None}."""
    if (folder / SINGLE).exists():
        return {folder / SINGLE: None}
    if not (folder / INDEX).exists():
        raise FileNotFoundError(
            f"{folder}: there is neither {SINGLE} nor {INDEX}; weights in other formats, such as "
            "pickled ones (.bin, .pt), are not read"
        )
    homes = read_json(folder / INDEX).get("weight_map")
    if not isinstance(homes, dict) or not homes:
        raise ValueError(f"{folder / INDEX}: has no weight_map, {{tensor: file}}")
    files = {}
    for name, home in homes.items():
        # Only files of this folder: a path could lead anywhere.
        if not isinstance(home, str) or Path(home).name != home or home in ("", ".", ".."):
            raise ValueError(f"{folder / INDEX}: tensor {name} is said to be in {home!r}")
        files.setdefault(folder / home, []).append(name)
    return files


def _open(file):
    try:
        from safetensors import SafetensorError, safe_open
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "reading this folder needs the package safetensors: pip install safetensors"
        ) from error
    try:
        return safe_open(file, framework="np")
    except SafetensorError as error:
        raise ValueError(f"{file}: {error}") from error


def _infos(file, names):
    """The Infos of a safetensors file, from its header."""
    header, start = _header(file)
    size = file.stat().st_size
    entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for name in names or ():
        if name not in entries:
            raise ValueError(f"{file}: tensor {name} is missing, which the index expects here")
    infos = [_info(file, name, entry, start) for name, entry in entries.items()]
    end = start
    for info in sorted(infos, key=lambda info: (info.offset, info.nbytes)):
        if info.offset != end:
            raise ValueError(
                f"{file}: tensor {info.name} is said to begin at byte {info.offset:,}; expected "
                f"{end:,}, where the tensor before it ends"
            )
        end += info.nbytes
        if end > size:
            raise ValueError(
                f"{file}: truncated: tensor {info.name} ends at byte {end:,}, the file has "
                f"{size:,} bytes"
            )
    if end < size:
        raise ValueError(f"{file}: overlong: {size:,} bytes, its last tensor ends at {end:,}")
    return infos


def _header(file):
    """(the header of a safetensors file, the byte at which its tensors begin)."""
    size = file.stat().st_size
    with open(file, "rb") as content:
        length = int.from_bytes(content.read(8), "little")
        if size < 10 or content.read(1) != b"{":
            raise ValueError(f"{file}: not a safetensors file: a JSON header must start at byte 8")
        if length > min(size - 8, LARGEST_TEXT):
            raise ValueError(
                f"{file}: truncated or damaged: its header would take {length:,} bytes, the file "
                f"has {size - 8:,} more"
            )
        content.seek(8)
        text = content.read(length)
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: byte 8: the header is not JSON: {error}") from error
    return header, 8 + length


def _info(file, name, entry, start):
    try:
        shape, (first, last), dtype = tuple(entry["shape"]), entry["data_offsets"], entry["dtype"]
        if len(shape) > MOST_AXES or not all(
            type(n) is int and 0 <= n < LARGEST_SIZE for n in (*shape, first, last)
        ):
            raise ValueError("sizes and offsets must be integers, and not negative")
        if dtype not in (*KINDS, *OTHERS):
            raise ValueError(f"unknown dtype {dtype!r}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{file}: tensor {name} has the damaged entry {str(entry)[:200]}: {error!r}"
        ) from error
    kind = KINDS.get(dtype) or quants.Kind(dtype, 1, 0)
    expected = math.prod(shape) * kind.nbytes
    if last < first or (kind.readable and last - first != expected):
        raise ValueError(
            f"{file}: tensor {name} of shape {shape} in {kind.name} takes {expected:,} bytes; its "
            f"offsets {first:,} to {last:,} give it {last - first:,}"
        )
    return Info(name, shape, kind, start + first, last - first)
