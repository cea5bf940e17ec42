"""What a graph keeps for its backward pass, beside the formula of what it should."""

from typing import NamedTuple

from minigrad import backend
from minigrad.engine import Traced, plain
from minigrad.engine.traced import root


class Saved(NamedTuple):
    """An array that backward will want: for which op, by the name of its rule's argument."""

    op: str
    argument: str
    array: object


def saved_activations(output, without=()):
    """What backward from a Tensor will want, as a list of Saved, in the order of computation.

    Each memory once, at the first op that keeps it; single numbers and indices left out.
    ``without``: Tensors or arrays that do not count, as a model's parameters. Inside of
    ``checkpoint`` nothing is kept, and nothing found. Raises TypeError for what is no Tensor.
    """
    if not isinstance(output, Traced):
        raise TypeError(f"saved_activations: expected a Tensor, got a {type(output).__name__}")
    seen = {id(root(plain(each))) for each in without}
    found = []
    for node in _nodes(output):
        env = node.env if isinstance(node.env, dict) else {}
        for name, value in env.items():
            for each in value if isinstance(value, (tuple, list)) else (value,):
                array = plain(each)
                if not backend.is_array(array) or not array.ndim or not array.size:
                    continue
                owner = root(array)
                if id(owner) not in seen:
                    seen.add(id(owner))
                    found.append(Saved(node.op.name, name, owner))
    return found


def _nodes(output):
    seen, waiting = set(), [output.node]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting.extend(node.parents)
    return sorted(seen, key=lambda node: node.order)


def paper_bytes(array):
    """Bytes as papers count them: 1 a mask's element, 2 a floating-point number of any width."""
    return array.size * (1 if array.dtype == bool else 2)


def block_activations(s, b, h, a, t=1, sequence=False):
    """{term: bytes} that a block of GPT keeps for backward on each of t ranks; their sum is
    s·b·h(34 + 5as/h) for t = 1, s·b·h(10 + 24/t + 5as/(ht)) for tensor parallelism, and, with
    ``sequence`` parallelism, all of it over t.

    s positions, b sequences, width h, a heads, hidden width 4h; activations of 2 bytes, masks of 1,
    attention that keeps its scores. Source: Korthikanti et al. 2022, table 2 and equations 1 to 4.
    """
    sbh, scores, cut = s * b * h, a * s * s * b, t if sequence else 1
    return {
        "norms: inputs": 4 * sbh / cut,
        "input of W_Q, W_K, W_V": 2 * sbh / cut,
        "queries and keys": 4 * sbh / t,
        "softmax": 2 * scores / t,
        "dropout of scores: mask": scores / t,
        "dropout of scores: output": 2 * scores / t,
        "values": 2 * sbh / t,
        "input of W_O": 2 * sbh / t,
        "dropout behind W_O: mask": sbh / cut,
        "input of the MLP": 2 * sbh / cut,
        "input of GELU": 8 * sbh / t,
        "output of GELU": 8 * sbh / t,
        "dropout behind the MLP: mask": sbh / cut,
    }
