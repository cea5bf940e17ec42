"""What files of weights have in common: tensors by name, read a few rows at a time."""

from typing import NamedTuple

import numpy as np

from minigrad.models import quants


class Info(NamedTuple):
    """A tensor in a file: its shape in NumPy's order, (out, in) for most matrices; its kind, one of
    ``quants.KINDS``; where it begins, in bytes from the start of the file; how long it is."""

    name: str
    shape: tuple
    kind: quants.Kind
    offset: int
    nbytes: int


class Place(NamedTuple):
    """Where the values of a parameter stand in a file.

    tensor: its name. transpose: the file has (out, in) where the parameter has (in, out).
    part: (i, n) for the i-th of n equal parts along out. heads: if not 0, how many heads have the
    two halves that RoPE turns together interleaved, as llama.cpp stores queries and keys.
    """

    tensor: str
    transpose: bool = False
    part: tuple = (0, 1)
    heads: int = 0

    def file_shape(self, shape):
        """The shape of the tensor in the file, from that of the parameter."""
        shape = tuple(reversed(shape)) if self.transpose else tuple(shape)
        axis = self.out_axis(len(shape))
        return (*shape[:axis], shape[axis] * self.part[1], *shape[axis + 1 :])

    def out_axis(self, ndim):
        """Which axis of the tensor in the file is out."""
        return 0 if self.transpose else ndim - 1


class Source:
    """A file or folder of weights: ``path`` and ``tensors``, {name: Info}."""

    def rows(self, place):
        """The bytes of a Place, as ``quants.dequantize`` takes them."""
        raise NotImplementedError

    def where(self, name):
        """The file that holds a tensor."""
        return self.path

    def read_into(self, out, place):
        """Write the values at a Place into a contiguous array of the parameter's shape.

        Raises ValueError, which names the file, the tensor and its offset, for a kind that is not
        read here and for values that are not finite or do not fit into the dtype.
        """
        info = self.tensors[place.tensor]
        vector = len(info.shape) == 1
        try:
            raw = self.rows(place)
            target = out.reshape(raw.shape[0], -1) if vector else out
            quants.dequantize(raw, info.kind, target, place.transpose and not vector)
        except ValueError as error:
            raise ValueError(
                f"{self.where(place.tensor)}: tensor {place.tensor} ({info.kind.name}, shape "
                f"{info.shape}, at byte {info.offset:,}): {error}"
            ) from error

    def read(self, name, dtype=np.float32):
        """A tensor as a new array of a float dtype. Raises KeyError, and ValueError as
        ``read_into`` does."""
        shape = self.tensors[name].shape
        out = np.empty(shape, dtype)
        self.read_into(out if len(shape) < 3 else out.reshape(-1, shape[-1]), Place(name))
        return out
