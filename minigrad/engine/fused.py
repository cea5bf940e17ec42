"""Fused ops: primitives specified by composed ops, with kernels that stand in for them."""

import contextlib
import functools
import importlib

from minigrad import backend
from minigrad.engine.primitive import Primitive, explainable, without_lists
from minigrad.engine.state import CONSTANT, _state, new_level, state
from minigrad.engine.traced import Traced, box, leaf, plain
from minigrad.engine.walk import walk


class Fused(Primitive):
    """A primitive whose body, composed of ops, is its specification at every order; kernels for
    plain arrays hang on it by device name and are loaded on first use."""

    def __init__(self, body):
        super().__init__(body)
        self.kernels = {}

    def kernel(self, device, where):
        """Name the kernel for a device: ``"package.module:class"`` (see ``minigrad.cpu``)."""
        self.kernels[device] = where

    def _kernel_for(self, values, params):
        if not self.kernels or not _state.get().kernels:
            return None
        array = values[0]
        kernel = self.kernels.get(backend.device_of(array).partition(":")[0])
        if isinstance(kernel, str):
            kernel = self._load(kernel, array)
        if kernel is None or array.dtype not in _dtypes_of(kernel):
            return None
        for value in values:
            dtype = getattr(value, "dtype", array.dtype)
            if dtype is not array.dtype and dtype != array.dtype and backend.is_floating(dtype):
                return None
        supports = getattr(kernel, "supports", None)
        return kernel if supports is None or supports(*values, **params) else None

    def _load(self, where, array):
        module, _, name = where.partition(":")
        try:
            kernel = getattr(importlib.import_module(module), name)
        except ModuleNotFoundError:
            kernel = None
        self.kernels[backend.device_of(array).partition(":")[0]] = kernel
        return kernel

    def __call__(self, *args, **params):
        args, params = self._normalise(without_lists(args), params)
        top, values, tangents, nested = None, [], None, False
        for arg in args:
            if isinstance(arg, Traced):
                level = arg.level
                if top is None or top == CONSTANT:
                    top = level
                elif level != top and level != CONSTANT:
                    nested = True
                tangent, arg = arg.tangent, arg.data
                if tangent is not None:
                    tangents = tangents or [None] * len(args)
                    tangents[len(values)] = tangent
                if isinstance(arg, Traced) or isinstance(tangent, Traced):
                    nested = True
            values.append(arg)
        if (
            nested
            or not backend.is_array(values[0])
            or (kernel := self._kernel_for(values, params)) is None
            or (tangents and not hasattr(kernel, "jvp"))
        ):
            return super().__call__(*args, **params) if self.vjps else self._specified(args, params)
        moved = saved = None
        try:
            if tangents:
                out, moved = kernel.jvp(values, tangents, **params)
            else:
                out, saved = kernel.forward(*values, **params)
        except explainable as error:
            raise self.explained(error, values) from error
        current = _state.get()
        if current.anomaly:
            self.check_finite(out, values)
        if tangents:
            return box(out, top, None, moved)
        if top is None:
            return out
        if top == CONSTANT or top < current.recording_since:
            return box(out)
        parents = [a.node if isinstance(a, Traced) and a.level == top else None for a in args]
        env = dict(zip(self.names, values), saved=saved, kernel=kernel)
        return self._noted(top, parents, env, params, out)

    def _specified(self, args, params):
        """The body on any values. Under detect_anomaly its output alone is looked at: a mask inside
        is infinite on purpose."""
        anomaly = _state.get().anomaly
        try:
            with state(anomaly=False) if anomaly else contextlib.nullcontext():
                out = self.forward(*args, **params)
        except explainable as error:
            raise self.explained(error, args) from error
        if anomaly:
            self.check_finite(plain(out), [plain(arg) for arg in args])
        return out

    def _compute(self, values, params):
        kernel = self._kernel_for(values, params) if backend.is_array(values[0]) else None
        if kernel is None:
            return self._specified(values, params)
        return kernel.forward(*values, **params)[0]

    def pull(self, parents, env, params, g):
        """By the kernel for plain arrays, else through the specification on its own level."""
        if "kernel" not in env:
            return super().pull(parents, env, params, g)
        values = [env[name] for name in self.names]
        if not isinstance(g, Traced) and not any(isinstance(v, Traced) for v in values):
            needs = tuple(parent is not None for parent in parents)
            return env["kernel"].backward(g, env["saved"], needs, **params)
        level = new_level()
        boxed = [v if p is None else leaf(v, level) for v, p in zip(values, parents)]
        out = self.forward(*boxed, **params)
        found = walk([(out, g)], level)
        return [None if p is None else found.get(b.node) for b, p in zip(boxed, parents)]


@functools.cache
def _dtypes_of(kernel):
    """The dtypes of a kernel, which names them; in the byte order of this machine alone."""
    return frozenset(backend.as_dtype(name) for name in kernel.dtypes)


def fused(body):
    """Decorator: make a function composed of ops a Fused primitive."""
    return Fused(body)
