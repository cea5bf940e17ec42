"""What kernels ask of their arrays, so that each is compiled for one layout alone."""

import math

import numpy as np


def contiguous(x):
    """`x` as a C-contiguous, writable NumPy array: itself if it is one, else a copy."""
    x = np.asarray(x)
    return x if x.flags.carray else np.array(x, order="C")


def unit_rows(x):
    """`x` with unit stride along its rows: itself or a copy. Its rows may lie anywhere."""
    return x if x.strides[-1] == x.itemsize and x.flags.aligned else np.array(x, order="C")


def rows_of(x):
    """(..., D) as a contiguous (rows, D)."""
    return contiguous(x).reshape(math.prod(x.shape[:-1]), x.shape[-1])


def check_ids(ids, count, what, ignored=None):
    """Raise IndexError, naming the first offender, unless all ids are in [0, count)."""
    if ids.size == 0 or (ids.min() >= 0 and ids.max() < count):
        return
    wrong = (ids < 0) | (ids >= count)
    if ignored is not None:
        wrong &= ids != ignored
    if wrong.any():
        place = tuple(int(i[0]) for i in wrong.nonzero())
        raise IndexError(f"{what} hold {int(ids[place])} at {place}; expected 0 to {count - 1}")


def symmetric(kernel):
    """Decorator for a kernel of one array whose Jacobian is symmetric (elementwise ops, softmax):
    pushing a tangent forward is pulling it back, so backward serves forward mode too."""

    def jvp(arrays, tangents, **params):
        out, saved = kernel.forward(*arrays, **params)
        return out, kernel.backward(tangents[0], saved, (True,), **params)[0]

    kernel.jvp = staticmethod(jvp)
    return kernel
