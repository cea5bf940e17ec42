"""Which array module, dtype, device and random state: the only file that asks.

NumPy functions dispatch on the arrays they are given, so ``np.exp(x)`` already runs on the GPU
when ``x`` is a CuPy array. What is left over (making arrays, moving them, naming devices, drawing
random numbers, products in half precision) is here.
"""

import contextlib
import contextvars
import importlib
import sys

import ml_dtypes
import numpy as np

bfloat16 = np.dtype(ml_dtypes.bfloat16)
HALF = frozenset((np.dtype(np.float16), bfloat16))
FLOATING = frozenset((*HALF, np.dtype(np.float32), np.dtype(np.float64)))


def array_module(x):
    """NumPy or CuPy, whichever made ``x``."""
    return sys.modules["cupy"] if type(x).__module__.startswith("cupy") else np


def is_array(x):
    """Whether ``x`` is an array (or NumPy scalar) of one of the array modules."""
    return isinstance(x, (np.ndarray, np.generic)) or type(x).__module__.startswith("cupy")


def is_floating(dtype):
    """Whether derivatives exist for this dtype: float16, bfloat16, float32 or float64."""
    return (dtype if isinstance(dtype, np.dtype) else np.dtype(dtype)) in FLOATING


def as_dtype(dtype):
    """The NumPy dtype for a dtype or its name, ``"bfloat16"`` included."""
    try:
        return bfloat16 if dtype == "bfloat16" else np.dtype(dtype)
    except TypeError as error:
        raise TypeError(f"unknown dtype {dtype!r}: expected a NumPy dtype or its name") from error


def array(data, dtype=None, device=None, copy=True):
    """A new array from Python numbers, nested lists, or an array.

    Python floats become float32, ints int64 and bools bool; arrays keep their dtype.
    Raises TypeError for data that is not numeric, ValueError for ragged lists.
    """
    if not is_array(data):
        try:
            data = np.asarray([_plain(item) for item in data] if isinstance(data, list) else data)
        except ValueError as error:
            raise ValueError(f"tensor: the nested lists have no common shape: {error}") from error
        if dtype is None and data.dtype == np.float64:
            dtype = np.float32
        copy = False
    dtype = data.dtype.newbyteorder("=") if dtype is None else as_dtype(dtype)
    if dtype.kind not in "biuf" and dtype != bfloat16:
        raise TypeError(
            f"tensor: cannot hold dtype {dtype}; expected a bool, integer or float type"
        )
    return to_device(data.astype(dtype, copy=copy), device)


def _plain(item):
    if isinstance(item, list):
        return [_plain(each) for each in item]
    if not hasattr(item, "requires_grad"):
        return item
    if item.requires_grad or item.level > 0:
        raise TypeError(
            "tensor: the list holds a Tensor that is being differentiated and would lose its "
            "derivative; use stack() or concatenate(), or detach() it"
        )
    return item.data


def device_of(x):
    """``"cpu"``, ``"cuda"`` (the current GPU) or ``"cuda:1"`` for an array."""
    if array_module(x) is np:
        return "cpu"
    index = x.device.id
    return "cuda" if index == sys.modules["cupy"].cuda.Device().id else f"cuda:{index}"


def to_device(x, device):
    """The array ``x`` on a device (itself when it is there already). "cuda" is the current GPU: the
    first, or with `minigrad launch` the rank's own.

    Raises ValueError for an unknown device name, RuntimeError when there is no such GPU here.
    """
    if device is None or device == device_of(x):
        return x
    if device == "cpu":
        return array_module(x).asnumpy(x)
    name, _, index = str(device).partition(":")
    if name != "cuda" or (index and not index.isdigit()):
        raise ValueError(f'unknown device {device!r}: expected "cpu", "cuda" or "cuda:1"')
    cupy = _cupy(device)
    with cupy.cuda.Device(int(index) if index else None):
        return cupy.asarray(x)


def _cupy(device):
    try:
        import cupy

        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        raise RuntimeError(
            f"device {device!r} asked for, but CuPy finds no GPU here; `minigrad doctor` says more"
        ) from error
    if int(device.partition(":")[2] or 0) >= count:
        raise RuntimeError(f"device {device!r} asked for, but this machine has {count} GPU(s)")
    return cupy


def weak_scalars(values):
    """Python floats beside bfloat16 arrays take their dtype, as they do for NumPy's own dtypes."""
    if any(getattr(value, "dtype", None) == bfloat16 for value in values):
        return [bfloat16.type(value) if type(value) is float else value for value in values]
    return values


def matmul(x, y):
    """``x @ y``. Half precision multiplies in float32 where no BLAS knows it: on the CPU, and
    bfloat16 in CuPy's batched products."""
    if x.dtype.itemsize > 2 or not (x.dtype in HALF and y.dtype in HALF):
        return np.matmul(x, y)
    if array_module(x) is not np and (x.ndim == y.ndim == 2 or x.dtype == y.dtype == np.float16):
        return np.matmul(x, y)
    product = np.matmul(x.astype(np.float32), y.astype(np.float32))
    return product.astype(x.dtype) if x.dtype == y.dtype else product


def accumulator(dtype):
    """The dtype in which sums of ``dtype`` are kept: float32 for halves, else None (NumPy's)."""
    return np.float32 if dtype in HALF else None


def scatter_add(target, index, updates):
    """``target[index] += updates`` in place, adding up where an index repeats."""
    if target.dtype == bfloat16 and array_module(target) is not np:  # CuPy adds no bfloat16 there
        wide = target.astype(np.float32)
        scatter_add(wide, index, updates.astype(np.float32))
        target[...] = wide.astype(bfloat16)
    else:
        array_module(target).add.at(target, index, updates)


def beside(x, like):
    """The array ``x`` on the device of ``like``."""
    return to_device(x, device_of(like))


def argsort(x, axis):
    """The indices that sort ``x`` along ``axis``, stable."""
    if x.dtype == bfloat16:
        x = x.astype(np.float32)
    return np.argsort(x, axis=axis, kind="stable")


def where(condition, x, y):
    """``np.where`` with NumPy's promotion on either device."""
    xp = array_module(condition)
    if xp is np:
        return np.where(condition, x, y)
    dtype = np.result_type(*(getattr(each, "dtype", each) for each in (x, y)))
    out = xp.where(condition, xp.asarray(x, dtype), xp.asarray(y, dtype))
    return out.astype(dtype, copy=False)  # CuPy's where has no bfloat16 of its own


def solve(a, b):
    """The ``x`` with ``a @ x = b``, (..., n, n) and (..., n, m), leading axes broadcast."""
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if array_module(a) is not np:  # CuPy wants the leading axes spelled out
        a = np.broadcast_to(a, lead + a.shape[-2:])
        b = np.broadcast_to(b, lead + b.shape[-2:])
    return np.linalg.solve(a, b)


_generator = contextvars.ContextVar("random generator")
_default_generator = np.random.Generator(np.random.PCG64())


def manual_seed(n):
    """Seed every random draw of minigrad (initialisation, dropout) with the integer ``n``."""
    generator().bit_generator.state = np.random.PCG64(n).state


def generator():
    """The NumPy generator behind minigrad's random draws."""
    return _generator.get(_default_generator)


def random_state():
    """The generator's state, as plain values that ``set_random_state`` takes."""
    return generator().bit_generator.state


def set_random_state(state):
    """Go back to a state that ``random_state`` returned."""
    generator().bit_generator.state = state


def own_random_state(state=None):
    """From here on this context (a thread, a rank) draws from a generator of its own, which goes on
    from ``state``, or from where the shared one stands."""
    state = random_state() if state is None else state
    _generator.set(np.random.Generator(np.random.PCG64()))
    set_random_state(state)


@contextlib.contextmanager
def replayed_random_state(state):
    """Draw again what was drawn after ``state``; afterwards go on as if nothing had happened."""
    token = _generator.set(np.random.Generator(np.random.PCG64()))
    try:
        set_random_state(state)
        yield
    finally:
        _generator.reset(token)


def random_mask(shape, keep, like):
    """Bools of ``shape`` on the device of ``like``, each True with probability ``keep``."""
    mask = generator().random(shape, dtype=np.float32) < keep
    return to_device(mask, device_of(like))


def zeros(shape, like):
    """Zeros of the dtype and on the device of ``like``."""
    return array_module(like).zeros(tuple(shape), like.dtype)


def ones(shape, like):
    """Ones of the dtype and on the device of ``like``."""
    return array_module(like).ones(tuple(shape), like.dtype)


def erf(x):
    """The error function of an array, elementwise; integers give float64."""
    x = x if is_floating(x.dtype) else x.astype(np.float64)
    where = "minigrad.cpu.activation" if array_module(x) is np else "cupyx.scipy.special"
    return importlib.import_module(where).erf(x).astype(x.dtype, copy=False)
