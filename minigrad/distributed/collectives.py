"""The eight collectives on arrays: shapes in, shapes out, and the blocks that algorithms move.

Every function takes ``p``, a rank's point-to-point endpoint, and x, an array of the same shape and
dtype on every rank, and returns an array of its own. P is the number of ranks.
"""

import numpy as np

from minigrad.distributed.algorithms import CHOICES, chunks

OPS = {
    "sum": np.add,
    "mean": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def all_reduce(p, x, algorithm, op):
    """(…) -> (…): what all ranks' x make together, on every rank."""
    flat = x.reshape(-1).copy()
    parts = {"ring": p.size, "halving and doubling": 1 << (p.size.bit_length() - 1)}
    CHOICES["all_reduce"][algorithm](p, chunks(flat, parts.get(algorithm, 1)), _combine(op))
    return finished(flat, op, p.size).reshape(x.shape)


def reduce(p, x, algorithm, op, root):
    """(…) -> (…): what all ranks' x make together, on the root; zeros on the others."""
    flat = x.reshape(-1).copy()
    blocks = chunks(flat, p.size if algorithm == "ring" else 1)
    CHOICES["reduce"][algorithm](p, blocks, _combine(op), root)
    if p.rank != root:
        return np.zeros_like(x)
    return finished(flat, op, p.size).reshape(x.shape)


def broadcast(p, x, algorithm, root):
    """(…) -> (…): the root's x, on every rank."""
    flat = x.reshape(-1).copy()
    blocks = chunks(flat, p.size if algorithm == "ring" else 1)
    CHOICES["broadcast"][algorithm](p, blocks, root)
    return flat.reshape(x.shape)


def all_gather(p, x, algorithm, axis):
    """(…, n, …) -> (…, P·n, …): all ranks' x one after the other, on every rank."""
    blocks = [np.empty_like(x).reshape(-1) for _ in range(p.size)]
    blocks[p.rank][...] = x.reshape(-1)
    CHOICES["all_gather"][algorithm](p, blocks)
    return np.concatenate([block.reshape(x.shape) for block in blocks], axis)


def reduce_scatter(p, x, algorithm, op, axis):
    """(…, P·n, …) -> (…, n, …): rank r's share of what all ranks' x make together."""
    pieces = np.split(x, p.size, axis)
    blocks = [piece.reshape(-1).copy() for piece in pieces]
    CHOICES["reduce_scatter"][algorithm](p, blocks, _combine(op))
    return finished(blocks[p.rank], op, p.size).reshape(pieces[0].shape)


def scatter(p, x, algorithm, root, axis):
    """(…, P·n, …) -> (…, n, …): rank r's share of the root's x."""
    pieces = np.split(x, p.size, axis)
    blocks = [piece.reshape(-1).copy() for piece in pieces]
    CHOICES["scatter"][algorithm](p, blocks, root)
    return blocks[p.rank].reshape(pieces[0].shape)


def gather(p, x, algorithm, root, axis):
    """(…, n, …) -> (…, P·n, …): all ranks' x one after the other on the root; zeros elsewhere."""
    blocks = [np.zeros_like(x).reshape(-1) for _ in range(p.size)]
    blocks[p.rank][...] = x.reshape(-1)
    CHOICES["gather"][algorithm](p, blocks, root)
    whole = np.concatenate([block.reshape(x.shape) for block in blocks], axis)
    return whole if p.rank == root else np.zeros_like(whole)


def all_to_all(p, x, algorithm, split_axis, concat_axis):
    """(…, P·n, …) -> the same cut along ``split_axis``, piece r for rank r, and what comes in put
    together along ``concat_axis``."""
    pieces = np.split(x, p.size, split_axis)
    out = [piece.reshape(-1).copy() for piece in pieces]
    into = [np.empty_like(piece) for piece in out]
    CHOICES["all_to_all"][algorithm](p, out, into)
    return np.concatenate([piece.reshape(pieces[0].shape) for piece in into], concat_axis)


def all_to_all_rows(p, x, algorithm, send_counts, recv_counts):
    """(Σ send_counts, …) -> (Σ recv_counts, …): the first rows for rank 0, and so on."""
    out = np.split(x, np.cumsum(send_counts)[:-1])
    whole = np.empty_like(x, shape=(sum(recv_counts), *x.shape[1:]))
    into = np.split(whole, np.cumsum(recv_counts)[:-1])
    CHOICES["all_to_all"][algorithm](p, out, into)
    return whole


def barrier(p):
    """Nobody leaves before all have come: ⌈log₂P⌉ rounds of empty messages, each twice as far
    (Hensgen, Finkel and Manber 1988)."""
    nothing = np.empty(0, np.uint8)
    far = 1
    while far < p.size:
        p.send_recv(nothing, (p.rank + far) % p.size, nothing, (p.rank - far) % p.size)
        far *= 2


def _combine(op):
    ufunc = OPS[op]
    return lambda a, b: ufunc(a, b, out=a)


def finished(array, op, size):
    """A sum over ``size`` ranks as what ``op`` wants: divided by size, in place, for a mean."""
    if op == "mean":
        array /= array.dtype.type(size)
    return array
