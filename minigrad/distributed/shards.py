"""Who holds which positions of a sequence of length L.

- "contiguous": rank r has chunk r of P.
- "zigzag": rank r has chunks r and 2P − 1 − r of 2P, an early one and a late one, so that all ranks
  see equally many keys under a causal mask (Megatron's context parallelism; Brandon et al.,
  Striped Attention, 2023, mend the same imbalance by single positions).
"""

import numpy as np

from minigrad import backend
from minigrad.engine import plain

IGNORED = -100  # a target that does not count
LAYOUTS = ("contiguous", "zigzag")


def chunk_numbers(rank, size, layout):
    """Which chunks a rank holds, in order: [r] of P, or [r, 2P − 1 − r] of 2P."""
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; expected one of {', '.join(map(repr, LAYOUTS))}")
    return [rank] if layout == "contiguous" else [rank, 2 * size - 1 - rank]


def positions(length, rank, size, layout="contiguous"):
    """(L/P,) integers: the positions that a rank holds, in its order.

    Raises ValueError for a length that does not divide into P (zigzag: 2P) equal chunks.
    """
    numbers = chunk_numbers(rank, size, layout)
    parts = size * len(numbers)
    if length % parts:
        raise ValueError(
            f"rank {rank}: {length} positions do not divide into {parts} equal chunks, which "
            f"{size} ranks need for layout {layout!r}; pad, or cut, the sequence"
        )
    chunk = length // parts
    return np.concatenate([np.arange(chunk) + number * chunk for number in numbers])


def shard(x, comm, layout="contiguous", axis=1):
    """(…, L, …) -> (…, L/P, …): this rank's positions of a whole sequence."""
    places = positions(x.shape[axis], comm.rank, comm.size, layout)
    return _taken(x, places, axis)


def unshard(x, comm, layout="contiguous", axis=1):
    """(…, L/P, …) -> (…, L, …): the whole sequence in order, on every rank."""
    whole = comm.all_gather(x, axis)
    length = whole.shape[axis]
    held = [positions(length, rank, comm.size, layout) for rank in range(comm.size)]
    return _taken(whole, np.argsort(np.concatenate(held)), axis)


def _taken(x, places, axis):
    places = backend.beside(places, plain(x))
    return x[(slice(None),) * (axis % x.ndim) + (places,)]
