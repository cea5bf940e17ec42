"""The two modes: Jᵀ v by walking back, J u by carrying tangents."""

from minigrad import backend
from minigrad.engine import Traced, box, leaf, new_level
from minigrad.transforms.crossing import (
    has_tensor,
    inner,
    lower,
    or_zero,
    outward,
    pulled,
    seed_of,
    tensor_outputs,
    zeros_like,
)
from minigrad.transforms.trees import flatten, same_structure


def vjp(f, *primals):
    """``(out, pullback)``: the value f(*primals) and the function v -> Jᵀ v.

    The pullback takes a cotangent of the structure and shapes of ``out`` and returns a tuple with
    one cotangent per primal; it may be called any number of times, and be differentiated itself.
    Raises TypeError for primals without derivatives (integers).
    """
    tensors, level = has_tensor(primals), new_level()
    leaves, rebuild = flatten(primals)
    boxed = [leaf(inner(v, "vjp", f"input {i}"), level) for i, v in enumerate(leaves)]
    outputs, rebuild_out = tensor_outputs(f(*rebuild(boxed)), "vjp")
    out = rebuild_out([outward(lower(o, level), tensors) for o in outputs])

    def pullback(cotangent):
        seeds = same_structure(cotangent, out, "pullback")
        pairs = [(o, seed_of(v, o, "pullback")) for o, v in zip(outputs, seeds)]
        as_tensors = tensors or has_tensor(cotangent)
        return rebuild([outward(g, as_tensors) for g in pulled(pairs, boxed, level)])

    return out, pullback


def jvp(f, primals, tangents):
    """``(out, tangent)``: the value f(*primals) and J u, in one forward pass.

    ``primals`` and ``tangents`` are tuples of the same structure and shapes; a tangent of None is
    zero. Raises ValueError where they do not fit.
    """
    if not isinstance(primals, (tuple, list)) or not isinstance(tangents, (tuple, list)):
        raise TypeError(
            "jvp: primals and tangents are tuples with one entry per argument, as in "
            f"jvp(f, (x,), (u,)); got {type(primals).__name__} and {type(tangents).__name__}"
        )
    tensors, level = has_tensor((primals, tangents)), new_level()
    leaves, rebuild = flatten(tuple(primals))
    if len(tangents) == len(primals):
        tangents = [zeros_like(p) if t is None else t for p, t in zip(primals, tangents)]
    directions = same_structure(tuple(tangents), tuple(primals), "jvp: tangents")
    boxed = []
    for i, (value, direction) in enumerate(zip(leaves, directions)):
        value = inner(value, "jvp", f"primal {i}")
        boxed.append(box(value, level, None, seed_of(direction, value, f"jvp: tangent {i}")))
    outputs, rebuild_out = tensor_outputs(f(*rebuild(boxed)), "jvp")
    values = [outward(lower(o, level), tensors) for o in outputs]
    moved = []
    for o in outputs:
        at_level = isinstance(o, Traced) and o.level == level
        moved.append(outward(o.tangent if at_level else or_zero(None, o), tensors))
    return rebuild_out(values), rebuild_out(moved)


def linearize(f, *primals):
    """``(out, f_jvp)``: the value f(*primals) and the linear function u -> J u, which does not call
    f again. ``f_jvp(*tangents)`` takes one tangent per primal.

    The pullback v -> Jᵀ v is linear, so its own pullback is u -> J u: transposing twice.
    """
    tensors = has_tensor(primals)
    out, pullback = vjp(f, *primals)
    still, rebuild = flatten(zeros_like(out))
    moving = [i for i, zero in enumerate(still) if backend.is_floating(zero.dtype)]

    def of_moving(cotangents):
        full = list(still)
        for i, cotangent in zip(moving, cotangents):
            full[i] = cotangent
        return pullback(rebuild(full))

    _, pullback_of_pullback = vjp(of_moving, [still[i] for i in moving])

    def f_jvp(*tangents):
        same_structure(tangents, primals, "linearize: tangents")
        as_tensors = tensors or has_tensor(tangents)
        moved = [outward(zero, as_tensors) for zero in still]  # integers do not move
        for i, tangent in zip(moving, pullback_of_pullback(tangents)[0]):
            moved[i] = outward(inner(tangent, "linearize", "tangent"), as_tensors)
        return rebuild(moved)

    return out, f_jvp
