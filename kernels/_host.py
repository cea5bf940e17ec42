"""What functions that launch kernels share: whose arrays these are, and whether they and the
numbers beside them will do."""

import functools
import math
import sys

import numpy as np

PLAIN = np.ndarray, np.memmap  # a masked array or a matrix means more than its numbers
LARGEST = float(np.finfo(np.float32).max)


def namespace(**arrays):
    """The module that the arrays belong to, numpy or cupy. Arrays that are None are passed over,
    if not all are.

    Raises TypeError, naming the argument, for anything else and for a mixture.
    """
    found = None
    for name, array in arrays.items():
        if array is None:
            continue
        module = np
        if type(array) not in PLAIN:
            module = sys.modules.get("cupy")  # who has a CuPy array has imported it
            if module is None or not isinstance(array, module.ndarray):
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
    if found is None:
        present(**arrays)
    return found[1]


def present(**arrays):
    """That no array is None. Raises TypeError, naming the argument."""
    for name, array in arrays.items():
        if array is None:
            raise TypeError(f"{name} is None; expected an array")


def number(name, value, low=-LARGEST, high=LARGEST):
    """A real number as a Python float, finite in float32. Raises TypeError for what is no number,
    ValueError for one under ``low`` or over ``high``."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is {type(value).__name__}; expected a number")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; expected {low} to {high}")
    return float(value)


def integer(name, value, low=-(2**63), high=2**63 - 1):
    """An integer as a Python int. Raises TypeError and ValueError as ``number`` does."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {type(value).__name__}; expected an integer")
    if not low <= value <= high:
        raise ValueError(f"{name} is {value}; expected {low} to {high}")
    return int(value)


def flag(name, value):
    """A truth value, or 0 or 1, as a Python bool. Raises TypeError."""
    if not isinstance(value, int | np.bool_) or value not in (0, 1):
        raise TypeError(f"{name} is {type(value).__name__}; expected True or False")
    return bool(value)


def attention_scale(scale, H):
    """The factor of attention's scores, 1 / sqrt(H) if None. Raises TypeError, and ValueError for
    what is not positive or makes no ordinary float32 of itself times log2(e)."""
    return H**-0.5 if scale is None else number("scale", scale, 2.0**-126, 2.0**127)


def argument(name, value):
    """An argument of a launch: an array or a NumPy number as it is, a Python integer of up to 64
    bits, or a Python float, which becomes a float32. Raises TypeError and ValueError."""
    if isinstance(value, np.generic) or type(value) in PLAIN:
        if not _has_numbers(value.dtype):
            raise TypeError(f"{name} holds {value.dtype}; expected numbers that a GPU has")
        if not value.flags.aligned:
            raise ValueError(f"{name} is not aligned: it begins amid two of its elements")
        return value
    if isinstance(value, int):
        if not -(2**63) <= value < 2**63:
            raise ValueError(f"{name} is {value}; expected an integer of 64 bits")
        return value
    if not isinstance(value, float):
        raise TypeError(f"{name} is a {type(value).__name__}; expected an array or a number")
    if LARGEST < abs(value) < math.inf:
        raise ValueError(f"{name} is {value}; expected a float32")
    return np.float32(value)


@functools.cache
def _has_numbers(dtype):
    """Whether a dtype's elements are numbers that kernels can have."""
    plain = dtype.kind in "biuf" and dtype.itemsize <= 8 and dtype.isnative
    return plain or dtype.name == "bfloat16"


def check(name, array, dtypes, ndim=None, shape=None):
    """That an array has one of the dtypes (names), so many axes, this shape (None: any size), is
    C-contiguous and begins on a boundary of 16 bytes. Raises TypeError or ValueError."""
    if array is None:
        present(**{name: array})
    if _name(array.dtype) not in dtypes:
        raise TypeError(f"{name} is {array.dtype.name}; expected {' or '.join(dtypes)}")
    if ndim is not None and array.ndim != ndim:
        raise ValueError(f"{name} has shape {array.shape}; expected {ndim} axes")
    if shape is not None and (
        len(shape) != array.ndim
        or any(want not in (None, have) for want, have in zip(shape, array.shape))
    ):
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        raise ValueError(
            f"{name} has shape {array.shape}; expected ({expected}{',' * (len(shape) == 1)})"
        )
    if not array.flags.c_contiguous:
        raise ValueError(
            f"{name} is not C-contiguous: shape {array.shape}, strides {array.strides}"
        )
    if array.size and address(array) % 16:
        raise ValueError(f"{name} does not begin on a boundary of 16 bytes")


@functools.cache
def _name(dtype):
    return dtype.name  # which NumPy makes anew each time, in longer than all else above takes


def address(array):
    """Where an array begins in memory."""
    return array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr


def aligned(name, array):
    """Where an array begins. Raises ValueError if that is no place for its elements."""
    start = address(array)
    if array.size and start % array.itemsize:
        raise ValueError(f"{name} begins at an address that {array.itemsize} does not divide")
    return start


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
