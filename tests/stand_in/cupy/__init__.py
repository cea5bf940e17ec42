"""A stand-in for CuPy where there is no GPU: NumPy's arrays, and MPI in the place of NCCL.

Its arrays are no NumPy arrays and do not mix with them, as CuPy's: what takes one for the other
fails here as it would on a GPU. NumPy's functions find their way to them, as to CuPy's. So models
on "cuda" and the logic of ``minigrad.distributed.nccl`` run in CI; speed, streams, the functions
that CuPy lacks and NCCL itself need real GPUs.
"""

import types

import numpy as np

from . import cuda

MIXES = {"split", "array_split"}  # functions that take places as NumPy arrays beside an array


class ndarray(np.lib.mixins.NDArrayOperatorsMixin):
    """An array on the GPU."""

    def __init__(self, host):
        self._host = host

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if any(each is None for each in inputs):
            return NotImplemented
        if method == "at":
            inputs = [inputs[0], *(_there(each) for each in inputs[1:])]
        return _called(getattr(ufunc, method), inputs, options)

    def __array_function__(self, function, kinds, inputs, options):
        return _called(function, inputs, options, function.__name__ in MIXES)

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __getattr__(self, name):
        value = getattr(self._host, name)
        if callable(value):
            return lambda *inputs, **options: _called(value, inputs, options)
        return ndarray(value) if isinstance(value, np.ndarray) else value

    def __getitem__(self, place):
        return _wrapped(self._host[_plain(place, mixed=True)])

    def __setitem__(self, place, value):
        self._host[_plain(place, mixed=True)] = _plain(value)

    def __iter__(self):
        return (self[i] for i in range(len(self._host)))

    def __len__(self):
        return len(self._host)

    def __bool__(self):
        return bool(self._host)

    def __int__(self):
        return int(self._host)

    def __index__(self):
        return self._host.__index__()

    def __float__(self):
        return float(self._host)

    def __copy__(self):
        return self.copy()

    def __deepcopy__(self, _):
        return self.copy()

    data = property(lambda self: types.SimpleNamespace(ptr=self._host.ctypes.data, device_id=0))
    device = property(lambda self: cuda.Device())


def _plain(value, mixed=False):
    """A value with its GPU arrays as NumPy's. Raises TypeError for NumPy's own among them."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray) and not mixed:
        raise TypeError(f"Unsupported type {np.ndarray}")
    if isinstance(value, list | tuple):
        return type(value)(_plain(each, mixed) for each in value)
    return value


def _wrapped(value):
    """A result with its NumPy arrays and numbers as GPU arrays."""
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(np.asarray(value))
    if isinstance(value, list | tuple):
        return type(value)(_wrapped(each) for each in value)
    return value


def _called(function, inputs, options, mixed=False):
    if options.get("shape") == () and function.__name__.endswith("_like"):
        del options["shape"]  # which CuPy takes for none at all
    inputs = [_plain(each, mixed) for each in inputs]
    out = function(*inputs, **{name: _plain(each, mixed) for name, each in options.items()})
    if "out" in options:
        made = options["out"]
        return made[0] if isinstance(made, tuple) else made
    return _wrapped(out)


def _there(x):
    return ndarray(x) if isinstance(x, np.ndarray) else x


def asarray(x, *arguments, **options):
    return _wrapped(np.array(_plain(x, mixed=True), *arguments, copy=None, **options))


def array(x, *arguments, **options):
    return _wrapped(np.array(_plain(x, mixed=True), *arguments, **options))


def asnumpy(x):
    return np.array(_plain(x, mixed=True))


def __getattr__(name):
    function = getattr(np, name)
    if not callable(function) or isinstance(function, type | np.ufunc):
        return function
    return lambda *inputs, **options: _called(function, inputs, options, name in MIXES)
