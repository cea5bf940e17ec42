"""The engine: how a call is recorded, how a graph is walked, how tangents travel.

A **primitive** is a plain function of arrays with its derivative rules beside it. Called on arrays
it computes arrays. Called on traced values (Tensors) it also does what their *level* asks for:

- a **reverse** level records a ``Node`` per call; ``backward`` walks the nodes from the last to
  the first and multiplies by the transposed Jacobian of each (its VJP);
- a **forward** level carries a tangent beside each value and multiplies by the Jacobian (its JVP).

Level 0 is the tape of ``loss.backward()``. Each transform (``grad``, ``jvp`` ...) opens a level of
its own, higher than all before and never used again. A value of a high level holds a value of a
lower one in ``data``, down to the plain array; a call deals with its highest level and hands the
rest to itself. That is all there is to nesting: rules are written in the same operators and ops,
so at the level below they compute arrays, carry tangents, or build a graph again.

The scheme follows HIPS autograd and JAX's autodidax.
"""

import contextlib
import contextvars
import importlib
import inspect
import itertools
import operator
import weakref
from typing import NamedTuple

import numpy as np

from minigrad import backend

CONSTANT, AMBIENT = -1, 0  # levels: outside every graph; the tape of loss.backward()

_count_levels = itertools.count(1)
_count_nodes = itertools.count()


class State(NamedTuple):
    """What the engine is told by its surroundings (a context variable, so threads may differ)."""

    recording_since: int = 0  # reverse levels below this one do not record (no_grad)
    kernels: bool = True
    anomaly: bool = False
    region: object = None  # the checkpointed region being recorded, if any


_default_state = State()
_state = contextvars.ContextVar("minigrad state", default=_default_state)


@contextlib.contextmanager
def state(**changes):
    """Change entries of the engine's State inside a ``with`` block."""
    token = _state.set(_state.get()._replace(**changes))
    try:
        yield
    finally:
        _state.reset(token)


def no_grad():
    """Inside ``with no_grad():`` calls are computed but not recorded for reverse mode."""
    return state(recording_since=new_level())


def detect_anomaly():
    """Inside this block the first NaN or infinity raises, naming the op and its inputs."""
    return state(anomaly=True)


class use_kernels:
    """Turn fused kernels on or off: a plain call, or a ``with`` block that turns them back."""

    def __init__(self, on):
        self.before = _state.get()
        _state.set(self.before._replace(kernels=bool(on)))

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        _state.set(_state.get()._replace(kernels=self.before.kernels))


def records(level):
    """Whether calls on reverse level ``level`` are being recorded here."""
    return level >= _state.get().recording_since


def new_level():
    """A level above all levels so far; no two calls return the same one."""
    return next(_count_levels)


class Traced:
    """An array that remembers where it came from. ``Tensor`` adds the methods.

    ``data``: the array, or the value one level below. ``node``: on a reverse level, the node that
    made it. ``tangent``: on a forward level, its tangent (same shape as ``data``).
    """

    __slots__ = ("__weakref__", "data", "level", "node", "tangent")


_traced_class = Traced


def traced_class(cls):
    """Decorator: the subclass of Traced that calls return."""
    global _traced_class
    _traced_class = cls
    return cls


def box(data, level=CONSTANT, node=None, tangent=None):
    """A traced value around ``data``."""
    value = object.__new__(_traced_class)
    value.data = data
    value.level = level
    value.node = node
    value.tangent = tangent
    return value


def plain(value):
    """The array under a traced value, whatever its levels."""
    while isinstance(value, Traced):
        value = value.data
    return value


class Node:
    """One recorded call: who made a value, from which nodes, and what its rules will want to see.

    ``env`` holds, by the names the rules asked for, values one level below the node's; it is None
    when a walk has freed it, and the Region that can recompute it inside ``checkpoint``.
    """

    __slots__ = ("clock", "dtype", "env", "op", "order", "params", "parents", "shape")

    def __init__(self, op, parents, env, params, out):
        self.op = op
        self.parents = parents
        self.env = env
        self.params = params
        self.shape = out.shape
        self.dtype = out.dtype
        self.clock = _writes.clock
        self.order = next(_count_nodes)


class Leaf(Node):
    """Where a graph starts. ``tensor`` is a weak reference to whose ``grad`` its cotangent goes."""

    __slots__ = ("tensor",)

    def __init__(self, data, tensor=None):
        super().__init__(None, (), None, None, data)
        self.tensor = None if tensor is None else weakref.ref(tensor)


def leaf(data, level):
    """A traced value that a graph starts from, one per input of a transform."""
    return box(data, level, Leaf(data))


class _Writes:
    """When was an array last written in place? A clock that ticks at each write tells a graph
    that was recorded earlier that what it saved is no longer what it saw."""

    def __init__(self):
        self.clock = 0
        self.last = {}

    def __call__(self, array):
        """Note a write into ``array`` (or a view of it)."""
        self.clock += 1
        root = _root(array)
        key = id(root)
        self.last[key] = (
            weakref.ref(root, lambda _: self.last.pop(key, None)),
            self.clock,
        )

    def since(self, clock, array):
        """Whether ``array`` was written after ``clock``."""
        reference, written = self.last.get(id(_root(array)), (None, 0))
        return written > clock and reference() is not None


def _root(array):
    while isinstance(getattr(array, "base", None), type(array)):
        array = array.base
    return array


wrote = _writes = _Writes()


class Region:
    """A stretch of calls whose nodes drop what they save; ``recompute`` runs them again for it.

    ``run`` is called once to record and once more per walk that needs the values. It must make the
    same calls each time, so it draws its random numbers from the state that it first had.
    """

    def __init__(self, run, random_state):
        self.run = run
        self.random_state = random_state
        self.surroundings = _state.get()
        self.nodes = []

    def record(self):
        with state(region=self):
            return self.run()

    def enter(self, node):
        node.env = self
        self.nodes.append(node)

    def recompute(self):
        """Give every node of the region its values back."""
        again = _Replay()
        token = _state.set(self.surroundings._replace(region=again))
        try:
            with backend.replayed_random_state(self.random_state):
                self.run()
        finally:
            _state.reset(token)
        if [n.op for n in again.nodes] != [n.op for n in self.nodes]:
            raise RuntimeError(
                "checkpoint: the function made other calls when it was run again; it must depend on "
                "its arguments alone"
            )
        for node, fresh in zip(self.nodes, again.nodes):
            if node.env is self:
                node.env, node.clock = fresh.env, fresh.clock


class _Replay:
    """Collects the nodes of a second run."""

    def __init__(self):
        self.nodes = []

    def enter(self, node):
        self.nodes.append(node)


_explainable = (ValueError, TypeError, IndexError, ArithmeticError)


class Rule:
    """A derivative rule and the names it asks for."""

    __slots__ = ("fn", "names")

    def __init__(self, fn, primitive):
        self.fn = fn
        inputs = {*primitive.names, "out", "needs", "tangents"}
        inputs |= {f"{name}_{what}" for name in primitive.names for what in ("shape", "dtype")}
        self.names = []
        for name in list(inspect.signature(fn).parameters)[1:]:
            if name not in inputs and name not in primitive.defaults:
                raise TypeError(f"{primitive.name}: a rule asks for the unknown name {name!r}")
            self.names.append((name, name in primitive.defaults))

    def __call__(self, g, env, params):
        return self.fn(g, *[params[n] if given else env[n] for n, given in self.names])


class Primitive:
    """A function of arrays with derivative rules.

    Arguments before ``/`` (or all positional ones) are arrays, the rest are parameters. A rule's
    first argument is the cotangent ``g`` (or the tangent); its other names choose what it is given:
    an input by name, ``out``, a parameter, ``x_shape`` or ``x_dtype`` of input ``x``.
    """

    def __init__(self, forward):
        self.forward = forward
        self.name = forward.__name__.strip("_")
        self.__name__, self.__doc__ = self.name, forward.__doc__
        self.__signature__ = inspect.signature(forward)
        self.__wrapped__, self.__module__ = forward, forward.__module__
        kinds = inspect.Parameter
        parameters = list(self.__signature__.parameters.values())
        variadic = [p for p in parameters if p.kind is kinds.VAR_POSITIONAL]
        before_slash = [p for p in parameters if p.kind is kinds.POSITIONAL_ONLY]
        arrays = (
            variadic
            or before_slash
            or [p for p in parameters if p.kind is kinds.POSITIONAL_OR_KEYWORD]
        )
        rest = [p for p in parameters if p not in arrays]
        self.names = tuple(p.name for p in arrays)
        self.array_defaults = tuple(p.default for p in arrays)
        self.arity = None if variadic else len(arrays)
        self.positional = tuple(p.name for p in rest if p.kind is not kinds.KEYWORD_ONLY)
        self.defaults = {p.name: p.default for p in rest}
        self.vjps, self.jvps = (), ()
        self.joint_vjp, self.joint_jvp = None, None
        self.differentiable = True
        self._plans = {}

    def __repr__(self):
        return f"<primitive {self.name}>"

    def vjp(self, *rules):
        """One rule per array argument: cotangent of the output in, cotangent of the input out.
        None for an argument without derivative (indices, masks)."""
        self.vjps = tuple(rule and Rule(rule, self) for rule in rules)

    def vjp_all(self, rule):
        """One rule for all arguments at once: returns a sequence of cotangents. It may ask for
        ``needs``, a tuple of bools, and return None where that is False."""
        self.joint_vjp = Rule(rule, self)

    def jvp(self, *rules):
        """One rule per array argument: tangent of the input in, its share of the output's out."""
        self.jvps = tuple(rule and Rule(rule, self) for rule in rules)

    def jvp_all(self, rule):
        """One rule for all arguments at once; ``tangents`` holds None where there is none."""
        self.joint_jvp = Rule(rule, self)

    def multilinear(self):
        """The op is linear in each argument: a tangent simply takes its argument's place."""
        self.joint_jvp = "multilinear"

    def no_derivative(self):
        """The op is piecewise constant or not a number: its output is never part of a graph."""
        self.differentiable = False

    def __call__(self, *args, **params):
        if len(args) != self.arity or not params.keys() <= self.defaults.keys():
            args, params = self._normalise(args, params)
        top, weak, inner = None, False, False
        for arg in args:
            if isinstance(arg, Traced):
                if top is None or arg.level > top:
                    top = arg.level
            elif type(arg) is float:
                weak = True
        if top is None:
            return self._compute(backend.weak_scalars(args) if weak else args, params)
        values = []
        for arg in args:
            if isinstance(arg, Traced):
                if arg.level == top or arg.level == CONSTANT:
                    arg = arg.data
                inner = inner or isinstance(arg, Traced)
            values.append(arg)
        if weak:
            values = backend.weak_scalars(values)
        out = self(*values, **params) if inner else self._compute(values, params)
        if top == CONSTANT or not self.differentiable or not backend.is_floating(out.dtype):
            return out if isinstance(out, Traced) else box(out)
        return self._at_level(top, args, values, params, out)

    def _at_level(self, top, args, values, params, out):
        """Note on level ``top`` that ``values`` gave ``out``: a tangent or a node."""
        parents, tangents, mask, bit = [], None, 0, 1
        for i, arg in enumerate(args):
            parent = None
            if isinstance(arg, Traced) and arg.level == top:
                mask |= bit
                parent = arg.node
                if parent is None:
                    tangents = tangents or [None] * len(args)
                    tangents[i] = arg.tangent
            parents.append(parent)
            bit += bit
        if len(params) < len(self.defaults):
            params = {**self.defaults, **params}
        if tangents is not None:
            return box(out, top, None, self._push(values, out, tangents, params))
        current = _state.get()
        if top < current.recording_since:
            return out if isinstance(out, Traced) else box(out)
        names, attributes = self._plans.get(mask) or self._plan(mask)
        pool = (*values, out) if self.arity is not None else (values, out)
        env = {name: pool[i] for name, i in names}
        for name, i, attribute in attributes:
            env[name] = _attribute(pool[i], attribute)
        node = Node(self, parents, env, params, out)
        if current.region is not None:
            current.region.enter(node)
        return box(out, top, node)

    def _compute(self, values, params):
        """The output on plain arrays."""
        try:
            out = self.forward(*values, **params)
        except _explainable as error:
            raise self.explained(error, values) from error
        if _state.get().anomaly:
            self.check_finite(out, values)
        return out

    def _normalise(self, args, params):
        """Positional parameters and keyword arrays brought to where the engine wants them."""
        if self.arity is None:
            if params.keys() <= self.defaults.keys():
                return args, params
            unknown = sorted(params.keys() - self.defaults.keys())
            raise TypeError(f"{self.name}: unknown parameter {unknown}; it takes {self._takes()}")
        surplus = args[self.arity :]
        args = list(args[: self.arity])
        params = dict(params)
        if len(surplus) > len(self.positional):
            raise TypeError(
                f"{self.name}: {self.arity + len(surplus)} positional arguments given; "
                f"it takes {self._takes()}"
            )
        params.update(zip(self.positional, surplus, strict=False))
        for name, default in zip(self.names[len(args) :], self.array_defaults[len(args) :]):
            args.append(params.pop(name, default))
            if args[-1] is inspect.Parameter.empty:
                raise TypeError(f"{self.name}: argument {name} is missing; it takes {self._takes()}")
        if unknown := sorted(params.keys() - self.defaults.keys()):
            raise TypeError(f"{self.name}: unknown parameter {unknown}; it takes {self._takes()}")
        return args, params

    def _takes(self):
        return str(self.__signature__)

    def _plan(self, mask):
        """What must be kept when the inputs in ``mask`` are recorded: values and attributes."""
        if self.joint_vjp:
            rules = [self.joint_vjp]
        else:
            rules = [rule for i, rule in enumerate(self.vjps) if rule and mask >> i & 1]
        wanted = {name for rule in rules for name, given in rule.names if not given}
        names = [(n, i) for i, n in enumerate((*self.names, "out")) if n in wanted]
        attributes = [
            (f"{n}_{what}", i, what)
            for i, n in enumerate(self.names)
            for what in ("shape", "dtype")
            if f"{n}_{what}" in wanted
        ]
        plan = self._plans[mask] = names, attributes
        return plan

    def _push(self, values, out, tangents, params):
        """The output's tangent: the sum of what each input's tangent contributes."""
        if self.joint_jvp == "multilinear":
            terms = [
                self(*values[:i], tangent, *values[i + 1 :], **params)
                for i, tangent in enumerate(tangents)
                if tangent is not None
            ]
        else:
            env = self._everything(values, out, tangents)
            if self.joint_jvp:
                terms = [self.joint_jvp(tangents, env, params)]
            else:
                terms = [
                    rule(tangent, env, params)
                    for rule, tangent in zip(self.jvps, tangents)
                    if tangent is not None and rule
                ]
        if not terms:
            return out * 0
        total = terms[0]
        for term in terms[1:]:
            total = total + term
        if total.shape != out.shape:
            total = total + backend.zeros(out.shape, plain(out))
        return total if total.dtype == out.dtype else total.astype(out.dtype)

    def _everything(self, values, out, tangents):
        names = self.names if self.arity is not None else ()
        env = dict(zip(names, values))
        for name, value in zip(names, values):
            if value is not None:
                env[f"{name}_shape"] = _attribute(value, "shape")
                env[f"{name}_dtype"] = _attribute(value, "dtype")
        if self.arity is None:
            env[self.names[0]] = values
        env["out"], env["tangents"] = out, tangents
        return env

    def pull(self, parents, env, params, g):
        """The cotangents of a node's inputs, in order (None where none is wanted)."""
        if self.joint_vjp:
            env = {**env, "needs": tuple(parent is not None for parent in parents)}
            return self.joint_vjp(g, env, params)
        return [
            rule(g, env, params) if parent is not None and rule is not None else None
            for parent, rule in zip(parents, self.vjps)
        ]

    def explained(self, error, values):
        """The same error, saying which op it came from and what it was given."""
        given = ", ".join(f"{n} {describe(v)}" for n, v in self.labelled(values))
        return type(error)(f"{self.name}: {error} (given {given})")

    def labelled(self, values):
        """(argument name, value) pairs, numbered for ops of any number of arrays."""
        if self.arity is None:
            return [(f"{self.names[0]}[{i}]", value) for i, value in enumerate(values)]
        return [(n, v) for n, v in zip(self.names, values) if v is not None]

    def check_finite(self, out, values):
        """Raise FloatingPointError when ``out`` holds a NaN or infinity."""
        if not backend.is_floating(out.dtype) or np.isfinite(out).all():
            return
        what = "NaN" if np.isnan(out).any() else "infinity"
        given = [
            f"{n} {describe(v)}{'' if _finite(v) else ' (already not finite)'}"
            for n, v in self.labelled(values)
        ]
        raise FloatingPointError(f"{self.name}: {what} in its output, from {', '.join(given)}")


def _finite(value):
    array = np.asarray(value) if not backend.is_array(value) else value
    return array.dtype.kind in "biu" or bool(np.isfinite(array).all())


def _attribute(value, attribute):
    if attribute == "shape":
        return np.shape(value)
    return value.dtype if hasattr(value, "dtype") else np.asarray(value).dtype


def describe(value):
    """``float32 (2, 3)`` for arrays, the repr for the rest."""
    if hasattr(value, "shape"):
        return f"{value.dtype} {tuple(value.shape)}"
    return repr(value)


def primitive(forward):
    """Decorator: make a plain function of arrays a Primitive."""
    return Primitive(forward)


class Fused(Primitive):
    """A primitive whose body, composed of ops, is its specification at every order; kernels for
    plain arrays hang on it by device name and are loaded on first use."""

    def __init__(self, body):
        super().__init__(body)
        self.kernels = {}
        self._plans[None] = ()

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
        if kernel is None:
            return None
        for value in values:
            dtype = getattr(value, "dtype", None)
            if dtype is not None and dtype.kind == "f" and dtype.name not in kernel.dtypes:
                return None
        if array.dtype.name not in kernel.dtypes:
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
        if len(args) != self.arity or not params.keys() <= self.defaults.keys():
            args, params = self._normalise(args, params)
        top, values = None, []
        for arg in args:
            if isinstance(arg, Traced):
                if top is None or arg.level > top:
                    top = arg.level
                arg = arg.data
            values.append(arg)
        params = {**self.defaults, **params}
        if (
            any(isinstance(value, Traced) for value in values)
            or not backend.is_array(values[0])
            or any(isinstance(arg, Traced) and arg.tangent is not None for arg in args)
            or self._mixes_levels(args, top)
            or (kernel := self._kernel_for(values, params)) is None
        ):
            return super().__call__(*args, **params) if self.vjps else self._specified(args, params)
        try:
            out, saved = kernel.forward(*values, **params)
        except _explainable as error:
            raise self.explained(error, values) from error
        current = _state.get()
        if current.anomaly:
            self.check_finite(out, values)
        if top is None:
            return out
        if top == CONSTANT or top < current.recording_since:
            return box(out)
        parents = [a.node if isinstance(a, Traced) and a.level == top else None for a in args]
        env = dict(zip(self.names, values), saved=saved, kernel=kernel)
        node = Node(self, parents, env, params, out)
        if current.region is not None:
            current.region.enter(node)
        return box(out, top, node)

    def _specified(self, args, params):
        try:
            return self.forward(*args, **params)
        except (ValueError, TypeError, IndexError) as error:
            raise self.explained(error, args) from error

    @staticmethod
    def _mixes_levels(args, top):
        return any(isinstance(arg, Traced) and arg.level not in (top, CONSTANT) for arg in args)

    def _compute(self, values, params):
        kernel = self._kernel_for(values, params) if backend.is_array(values[0]) else None
        if kernel is None:
            return super()._compute(values, params)
        return kernel.forward(*values, **{**self.defaults, **params})[0]

    def pull(self, parents, env, params, g):
        """By the kernel for plain arrays, else by walking the specification on a level of its own."""
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


def fused(body):
    """Decorator: make a function composed of ops a Fused primitive."""
    return Fused(body)


def walk(outputs, level, create_graph=False, retain_graph=True):
    """Reverse mode: from (output, cotangent) pairs back to the leaves of ``level``.

    Returns {leaf node: cotangent}. Nodes are visited in the reverse order of their creation, which
    is a topological order, so each cotangent is complete when its node is reached. With
    ``create_graph`` the rules see values of this same level and so record a graph themselves.
    """
    grads, owned, leaves = {}, set(), {}
    for out, g in outputs:
        if isinstance(out, Traced) and out.level == level:
            _accumulate(grads, owned, out.node, g)
    for node in _reachable(grads):
        g = grads.pop(node, None)
        if g is None:
            continue
        if node.op is None:
            leaves[node] = g
            continue
        env = node.env
        if type(env) is not dict:
            env = _recovered(node)
        if node.clock != _writes.clock:
            _check_unwritten(node)
        if create_graph:
            env, g = _as_traced(node, level), g if isinstance(g, Traced) else box(g)
        cotangents = _pull(node, env, g)
        for parent, cotangent in zip(node.parents, cotangents):
            if parent is None or cotangent is None:
                continue
            if cotangent.shape != parent.shape:
                cotangent = unbroadcast(cotangent, parent.shape)
            if cotangent.dtype != parent.dtype:
                cotangent = cotangent.astype(parent.dtype)
            _accumulate(grads, owned, parent, cotangent)
        if not retain_graph:
            node.env = None
    return leaves


def _reachable(grads):
    """All nodes behind the given ones, latest first."""
    seen = set(grads)
    waiting = list(seen)
    while waiting:
        for parent in waiting.pop().parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return sorted(seen, key=_order, reverse=True)


_order = operator.attrgetter("order")


def _accumulate(grads, owned, node, g):
    """Add ``g`` to the node's cotangent, in place once the sum is the walk's own array."""
    before = grads.get(node)
    if before is None:
        grads[node] = g
    elif node in owned and not isinstance(g, Traced):
        before += g
        grads[node] = before
    else:
        grads[node] = before + g
        if not isinstance(grads[node], Traced):
            owned.add(node)


def _pull(node, env, g):
    try:
        cotangents = node.op.pull(node.parents, env, node.params, g)
    except _explainable as error:
        raise type(error)(f"backward of {node.op.name}: {error}") from error
    if _state.get().anomaly:
        for (name, _), cotangent in zip(node.op.labelled(node.parents), cotangents):
            if cotangent is not None and not _finite(plain(cotangent)):
                already = "" if _finite(plain(g)) else " (already not finite)"
                raise FloatingPointError(
                    f"backward of {node.op.name}: NaN or infinity in the gradient of {name}, from "
                    f"an output gradient {describe(g)}{already}"
                )
    return cotangents


def _as_traced(node, level):
    """The node's values as values of its own level, for rules that are to record a graph."""
    env = dict(node.env)
    if "out" in env:
        env["out"] = box(env["out"], level, node)
    if node.op.arity is None:
        pairs = zip(env.get(node.op.names[0], ()), node.parents)
        env[node.op.names[0]] = [v if p is None else box(v, level, p) for v, p in pairs]
        return env
    for name, parent in zip(node.op.names, node.parents):
        if parent is not None and name in env:
            env[name] = box(env[name], level, parent)
    return env


def _recovered(node):
    """The values of a node without: recomputed (checkpoint), unless the graph was freed."""
    if node.env is None:
        raise RuntimeError(
            f"backward: the graph was already walked and its values freed (at op {node.op.name}); "
            "call the first backward with retain_graph=True to walk it twice"
        )
    node.env.recompute()
    return node.env


def _check_unwritten(node):
    for name, value in node.env.items():
        values = value if isinstance(value, (tuple, list)) else (value,)
        for each in values:
            if _writes.since(node.clock, plain(each)):
                raise RuntimeError(
                    f"backward of {node.op.name}: {name} {describe(each)} was changed in place after "
                    "it was saved; change a copy, or walk the graph before writing"
                )


def unbroadcast(g, shape):
    """Sum ``g`` over the axes along which ``shape`` was broadcast to its shape."""
    extra = g.ndim - len(shape)
    axes = tuple(range(extra)) + tuple(
        i + extra for i, size in enumerate(shape) if size == 1 and g.shape[i + extra] != 1
    )
    if axes:
        g = g.sum(axis=axes, keepdims=True)
    return g.reshape(shape) if extra else g
