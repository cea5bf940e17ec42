"""Traced values, the nodes they come from, and the clock of writes in place."""

import itertools
import weakref

from minigrad.engine.state import CONSTANT

_count_nodes = itertools.count()


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

    __slots__ = (
        "__weakref__",
        "clock",
        "dtype",
        "env",
        "op",
        "order",
        "params",
        "parents",
        "shape",
    )

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
        Node.__init__(self, None, (), None, None, data)
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
        owner = root(array)
        key = id(owner)
        self.last[key] = (
            weakref.ref(owner, lambda _: self.last.pop(key, None)),
            self.clock,
        )

    def since(self, clock, array):
        """Whether ``array`` was written after ``clock``."""
        reference, written = self.last.get(id(root(array)), (None, 0))
        return written > clock and reference() is not None


def root(array):
    """The array whose memory ``array`` is a view of (itself, if it owns it)."""
    while isinstance(base := getattr(array, "base", None), type(array)) and base is not array:
        array = base  # a dtype, which may be a parameter, is its own base
    return array


wrote = _writes = _Writes()
