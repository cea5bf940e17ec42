"""What functions that launch kernels share: whose arrays these are, and whether they will do."""

import functools

import numpy as np


def namespace(**arrays):
    """The module that the arrays belong to, numpy or cupy. Arrays that are None are passed over.

    Raises TypeError, naming the argument, for anything else and for a mixture.
    """
    found = None
    for name, array in arrays.items():
        if array is None:
            continue
        if isinstance(array, np.ndarray):
            module = np
        elif hasattr(array, "__cuda_array_interface__"):
            import cupy as module
        else:
            raise TypeError(f"{name} is {type(array).__name__}; expected a NumPy or CuPy array")
        if not array.dtype.isnative:
            raise TypeError(f"{name} is {array.dtype.str}; expected this machine's order of bytes")
        if found is not None and module is not found[1]:
            raise TypeError(
                f"{found[0]} is a {found[1].__name__} array and {name} a {module.__name__} array"
            )
        if module is not np and found is not None and array.device != found[2].device:
            raise ValueError(f"{found[0]} is on {found[2].device} and {name} on {array.device}")
        found = found or (name, module, array)
    return found[1]


def check(name, array, dtypes, ndim=None, shape=None):
    """That an array has one of the dtypes (names), so many axes, this shape (None: any size), is
    C-contiguous and begins on a boundary of 16 bytes. Raises TypeError or ValueError."""
    if array.dtype.name not in dtypes:
        raise TypeError(f"{name} is {array.dtype.name}; expected {' or '.join(dtypes)}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} has shape {array.shape}; expected {ndim} axes")
    if shape is not None and (
        len(shape) != array.ndim
        or any(want not in (None, have) for want, have in zip(shape, array.shape))
    ):
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(f"{name} has shape {array.shape}; expected ({expected})")
    if not array.flags.c_contiguous:
        raise ValueError(
            f"{name} is not C-contiguous: shape {array.shape}, strides {array.strides}"
        )
    if array.size and address(array) % 16:
        raise ValueError(f"{name} does not begin on a boundary of 16 bytes")


def address(array):
    """Where an array begins in memory."""
    return array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr


def empty(like, shape, dtype=None):
    """A new array beside ``like``. What nobody writes is conspicuous on the simulator: NaN."""
    dtype = np.dtype(like.dtype if dtype is None else dtype)
    if not isinstance(like, np.ndarray):
        import cupy

        return cupy.empty(shape, dtype)
    from kernels.sim.api import poisoned

    return poisoned(shape, dtype)


def multiprocessors(like):
    """How many multiprocessors the device of an array has; 4 for the simulator."""
    return 4 if isinstance(like, np.ndarray) else _attribute(like.device.id, 16)


@functools.cache
def _attribute(device, number):
    from cupy.cuda import runtime

    return runtime.deviceGetAttribute(number, device)


def shared_bytes(like):
    """How many bytes of shared memory a block may have on the device of an array."""
    return 227 * 1024 if isinstance(like, np.ndarray) else _attribute(like.device.id, 97)


def ceil_div(a, b):
    """a / b, rounded up."""
    return -(-a // b)
