"""Primitives: plain functions of arrays with their derivative rules."""

import inspect

import numpy as np

from minigrad import backend
from minigrad.engine.state import CONSTANT, _state
from minigrad.engine.traced import Node, Traced, box, plain

explainable = (ValueError, TypeError, IndexError, ArithmeticError)


class Rule:
    """A derivative rule and the names it asks for."""

    __slots__ = ("fn", "names")

    def __init__(self, fn, primitive):
        self.fn = fn
        inputs = {*primitive.names, "out", "needs", "tangents"}
        inputs |= {f"{name}_{what}" for name in primitive.names for what in ("shape", "dtype")}
        self.names = []
        for name in list(inspect.signature(fn).parameters)[1:]:
            if name not in inputs and name not in primitive.parameters:
                raise TypeError(f"{primitive.name}: a rule asks for the unknown name {name!r}")
            self.names.append((name, name in primitive.parameters))

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
        self.parameters = {p.name for p in rest}
        self.defaults = {p.name: p.default for p in rest if p.default is not kinds.empty}
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
        if params or len(args) != self.arity or len(self.defaults) < len(self.parameters):
            args, params = self._normalise(args, params)
        else:
            params = self.defaults
        top, weak = None, False
        for arg in args:
            if isinstance(arg, Traced):
                if top is None or arg.level > top:
                    top = arg.level
            elif type(arg) is float:
                weak = True
            elif type(arg) is list:
                return self(*without_lists(args), **params)
        if top is None:
            return self._compute(backend.weak_scalars(args) if weak else args, params)
        values, parents, tangents, inner = [], [], None, False
        for arg in args:
            parent = None
            if isinstance(arg, Traced):
                level = arg.level
                if level == top:
                    parent = arg.node
                    if parent is None and arg.tangent is not None:
                        tangents = tangents or [None] * len(args)
                        tangents[len(values)] = arg.tangent
                    arg = arg.data
                elif level == CONSTANT:
                    arg = arg.data
                if isinstance(arg, Traced):
                    inner = True
            values.append(arg)
            parents.append(parent)
        if weak:
            values = backend.weak_scalars(values)
        out = self(*values, **params) if inner else self._compute(values, params)
        if out.dtype in backend.FLOATING and self.differentiable:
            if tangents is not None:
                return box(out, top, None, self._push(values, out, tangents, params))
            if top >= _state.get().recording_since and top != CONSTANT:
                return self._recorded(top, parents, values, params, out)
        return out if isinstance(out, Traced) else box(out)

    def _recorded(self, level, parents, values, params, out):
        """``out`` with the node that remembers this call on a reverse level."""
        mask = 0
        for parent in parents:
            mask += mask + (parent is not None)
        names, attributes = self._plans.get(mask) or self._plan(mask, parents)
        pool = (*values, out) if self.arity is not None else (values, out)
        env = {name: pool[i] for name, i in names}
        for name, i, attribute in attributes:
            env[name] = _attribute(pool[i], attribute)
        return self._noted(level, parents, env, params, out)

    def _noted(self, level, parents, env, params, out):
        node = Node(self, parents, env, params, out)
        region = _state.get().region
        if region is not None:
            region.enter(node, level)
        return box(out, level, node)

    def _compute(self, values, params):
        """The output on plain arrays."""
        try:
            out = self.forward(*values, **params)
        except explainable as error:
            raise self.explained(error, values) from error
        if _state.get().anomaly:
            self.check_finite(out, values)
        return out

    def _normalise(self, args, params):
        """Positional parameters and keyword arrays brought to where the engine wants them, and
        parameters that were not given at their defaults."""
        if params.keys() - self.parameters or (self.arity is not None and len(args) != self.arity):
            args, params = self._rearranged(args, dict(params))
        if len(params) < len(self.parameters):
            params = {**self.defaults, **params}
            if missing := sorted(self.parameters - params.keys()):
                raise TypeError(f"{self.name}: {missing} is missing; it takes {self._takes()}")
        return args, params

    def _rearranged(self, args, params):
        names = self.names if self.arity is not None else ()
        surplus = args[len(names) :] if self.arity is not None else ()
        if len(surplus) > len(self.positional):
            raise TypeError(
                f"{self.name}: {len(args)} positional arguments given; it takes {self._takes()}"
            )
        params.update(zip(self.positional, surplus))
        args = list(args[: self.arity])
        for name, default in zip(names[len(args) :], self.array_defaults[len(args) :]):
            args.append(params.pop(name, default))
            if args[-1] is inspect.Parameter.empty:
                raise TypeError(
                    f"{self.name}: argument {name} is missing; it takes {self._takes()}"
                )
        if unknown := sorted(params.keys() - self.parameters):
            raise TypeError(f"{self.name}: unknown parameter {unknown}; it takes {self._takes()}")
        return args, params

    def _takes(self):
        return str(self.__signature__)

    def _plan(self, mask, parents):
        """What must be kept when the inputs with parents are recorded: values and attributes.
        ``mask`` has a bit for each, by which the plan is found again."""
        if self.joint_vjp:
            rules = [self.joint_vjp]
        else:
            rules = [rule for rule, p in zip(self.vjps, parents) if rule and p is not None]
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
            self._needs(self.jvps, "jvp")
            return backend.zeros(out.shape, plain(out))
        total = terms[0]
        own = self.joint_jvp == "multilinear"  # products are arrays of our own, as sums are
        for term in terms[1:]:
            plain_sum = not isinstance(total, Traced) and not isinstance(term, Traced)
            if own and plain_sum and total.shape == term.shape and total.dtype == term.dtype:
                total += term
            else:
                total, own = total + term, True
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
        if not self.vjps:
            self._needs(self.vjps, "vjp")
        return [
            None if parent is None or rule is None else rule(g, env, params)
            for parent, rule in zip(parents, self.vjps)
        ]

    def _needs(self, rules, kind):
        if not rules:
            raise NotImplementedError(
                f"{self.name} has no {kind} rule; give it one with {self.name}.{kind}(...), or "
                f"say {self.name}.no_derivative()"
            )

    def explained(self, error, values):
        """The same error, saying which op it came from and what it was given."""
        labelled = self.labelled(values)
        given = ", ".join(f"{n} {describe(v)}" for n, v in labelled)
        places = {backend.device_of(plain(v)) for _, v in labelled if hasattr(v, "shape")}
        if len(places) > 1:
            error = f"operands are on {' and '.join(sorted(places))}; move them with to()"
            return ValueError(f"{self.name}: {error} (given {given})")
        return restated(error, f"{self.name}: {error} (given {given})")

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
            f"{n} {describe(v)}{'' if finite(v) else ' (already not finite)'}"
            for n, v in self.labelled(values)
        ]
        raise FloatingPointError(f"{self.name}: {what} in its output, from {', '.join(given)}")


def without_lists(args):
    """The arguments with nested Python lists made into arrays."""
    return [backend.array(arg) if type(arg) is list else arg for arg in args]


def restated(error, message):
    """An error of the same kind with another message (some of NumPy's TypeErrors take more)."""
    return TypeError(message) if isinstance(error, TypeError) else type(error)(message)


def finite(value):
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
