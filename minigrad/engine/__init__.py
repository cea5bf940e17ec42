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

The scheme follows HIPS autograd and JAX's autodidax. To read: ``state``, ``traced``, ``primitive``,
``walk``, ``fused``, ``region``, in this order.
"""

from minigrad.engine.fused import Fused, fused
from minigrad.engine.primitive import Primitive, Rule, describe, primitive
from minigrad.engine.region import Region
from minigrad.engine.state import (
    AMBIENT,
    CONSTANT,
    detect_anomaly,
    kernels_on,
    new_level,
    no_grad,
    records,
    seeks_anomalies,
    state,
    use_kernels,
)
from minigrad.engine.traced import Leaf, Node, Traced, box, leaf, plain, traced_class, wrote
from minigrad.engine.walk import separate, unbroadcast, walk

__all__ = [
    "AMBIENT",
    "CONSTANT",
    "Fused",
    "Leaf",
    "Node",
    "Primitive",
    "Region",
    "Rule",
    "Traced",
    "box",
    "describe",
    "detect_anomaly",
    "fused",
    "kernels_on",
    "leaf",
    "new_level",
    "no_grad",
    "plain",
    "primitive",
    "records",
    "seeks_anomalies",
    "separate",
    "state",
    "traced_class",
    "unbroadcast",
    "use_kernels",
    "walk",
    "wrote",
]
