"""What an algorithm must cost: bytes by rank for any P and n, seconds by α and β.

``n`` counts the elements of the largest array that a rank has to do with: x of an all_reduce,
broadcast, reduce, reduce_scatter, scatter or all_to_all, the result of an all_gather or gather.
Where P does not divide n, chunk i holds the elements from ⌊i·n/P⌋ to ⌊(i + 1)·n/P⌋ (n elements of
an array that has to be shared evenly divide by P).
"""

import math


def _chunks(n, parts):
    return [(i + 1) * n // parts - i * n // parts for i in range(parts)]


def _core(size):
    return 1 << (size.bit_length() - 1)


def _rounds(size):
    return [1 << k for k in range((size - 1).bit_length())]


def elements_sent(collective, algorithm, size, n, root=0):
    """[elements that each rank sends], exactly."""
    rule = _RULES[collective, algorithm]
    # A rank's place on a tree or ring that begins at the root is (rank − root) mod P.
    return [rule(size, n, rank, (rank - root) % size) for rank in range(size)]


def _ring_reduce_scatter(P, n, rank, place):
    return n - _chunks(n, P)[rank]


def _ring_all_gather(P, n, rank, place):
    return n - _chunks(n, P)[(rank + 1) % P]


def _ring_all_reduce(P, n, rank, place):
    return _ring_reduce_scatter(P, n, rank, place) + _ring_all_gather(P, n, rank, place)


def _children(P, place):
    return sum(place < far and place + far < P for far in _rounds(P))


def _branch(P, place):
    """How many places hang below one, itself counted."""
    return min(place & -place, P - place)


def _doubling(P, n, rank, place):
    core = _core(P)
    if rank >= core:
        return n
    return n * (core.bit_length() - 1) + (n if rank + core < P else 0)


def _halving_doubling(P, n, rank, place):
    core = _core(P)
    if rank >= core:
        return n
    chunks, low, wide, sent = _chunks(n, core), 0, core, 0
    for near in _rounds(core):
        # One half of what a rank has left goes out on the way there, the other on the way back.
        sent += sum(chunks[low : low + wide])
        wide //= 2
        low += wide if rank & near else 0
    return sent + (n if rank + core < P else 0)


def _halving(P, n, rank, place):
    return n - n // P if _core(P) == P else _halving_doubling(P, n, rank, place)


def _bruck(P, n, rank, place):
    return n // P * sum(bool(d & far) for far in _rounds(P) for d in range(P))


_RULES = {
    ("all_reduce", "ring"): _ring_all_reduce,
    ("all_reduce", "tree"): lambda P, n, rank, place: n * (_children(P, rank) + (rank > 0)),
    ("all_reduce", "recursive doubling"): _doubling,
    ("all_reduce", "halving and doubling"): _halving_doubling,
    ("all_reduce", "direct"): lambda P, n, rank, place: n if rank else n * (P - 1),
    ("reduce_scatter", "ring"): _ring_reduce_scatter,
    ("reduce_scatter", "recursive halving"): _halving,
    ("reduce_scatter", "direct"): lambda P, n, rank, place: n - n // P,
    ("all_gather", "ring"): _ring_all_gather,
    ("all_gather", "recursive doubling"): lambda P, n, rank, place: n - n // P,
    ("all_gather", "direct"): lambda P, n, rank, place: n - n // P,
    ("broadcast", "tree"): lambda P, n, rank, place: n * _children(P, place),
    ("broadcast", "ring"): lambda P, n, rank, place: n if place < P - 1 else 0,
    ("broadcast", "direct"): lambda P, n, rank, place: 0 if place else n * (P - 1),
    ("reduce", "tree"): lambda P, n, rank, place: n if place else 0,
    ("reduce", "ring"): lambda P, n, rank, place: n if place else n - _chunks(n, P)[rank],
    ("reduce", "direct"): lambda P, n, rank, place: n if place else 0,
    ("scatter", "tree"): lambda P, n, rank, place: (
        n // P * (P if place == 0 else _branch(P, place)) - n // P
    ),
    ("scatter", "direct"): lambda P, n, rank, place: 0 if place else n - n // P,
    ("gather", "tree"): lambda P, n, rank, place: n // P * _branch(P, place) if place else 0,
    ("gather", "direct"): lambda P, n, rank, place: n // P if place else 0,
    ("all_to_all", "direct"): lambda P, n, rank, place: n - n // P,
    ("all_to_all", "bruck"): _bruck,
}

#: {(collective, algorithm): (steps, share of n)} as functions of P, for P a power of two that
#: divides n: of the longest chain of messages, each of which waits for the one before (or for its
#: port), how many there are and how many bytes they have together. seconds = steps·α + share·n·β
TEXTBOOK = {
    ("all_reduce", "ring"): (lambda P: 2 * (P - 1), lambda P: 2 * (P - 1) / P),
    ("all_reduce", "tree"): (lambda P: 2 * math.log2(P), lambda P: 2 * math.log2(P)),
    ("all_reduce", "recursive doubling"): (math.log2, math.log2),
    ("all_reduce", "halving and doubling"): (
        lambda P: 2 * math.log2(P),
        lambda P: 2 * (P - 1) / P,
    ),
    ("all_reduce", "direct"): (lambda P: 2 * (P - 1), lambda P: 2 * (P - 1)),
    ("reduce_scatter", "ring"): (lambda P: P - 1, lambda P: (P - 1) / P),
    ("reduce_scatter", "recursive halving"): (math.log2, lambda P: (P - 1) / P),
    ("reduce_scatter", "direct"): (lambda P: P - 1, lambda P: (P - 1) / P),
    ("all_gather", "ring"): (lambda P: P - 1, lambda P: (P - 1) / P),
    ("all_gather", "recursive doubling"): (math.log2, lambda P: (P - 1) / P),
    ("all_gather", "direct"): (lambda P: P - 1, lambda P: (P - 1) / P),
    ("broadcast", "tree"): (math.log2, math.log2),
    ("broadcast", "ring"): (lambda P: 2 * (P - 1), lambda P: 2 * (P - 1) / P),
    ("broadcast", "direct"): (lambda P: P - 1, lambda P: P - 1),
    ("reduce", "tree"): (math.log2, math.log2),
    ("reduce", "ring"): (lambda P: 2 * (P - 1), lambda P: 2 * (P - 1) / P),
    ("reduce", "direct"): (lambda P: P - 1, lambda P: P - 1),
    ("scatter", "tree"): (math.log2, lambda P: (P - 1) / P),
    ("scatter", "direct"): (lambda P: P - 1, lambda P: (P - 1) / P),
    ("gather", "tree"): (math.log2, lambda P: (P - 1) / P),
    ("gather", "direct"): (lambda P: P - 1, lambda P: (P - 1) / P),
    ("all_to_all", "direct"): (lambda P: P - 1, lambda P: (P - 1) / P),
    ("all_to_all", "bruck"): (math.log2, lambda P: math.log2(P) / 2),
}


def seconds(collective, algorithm, size, nbytes, alpha, beta):
    """Seconds that the textbook gives for ``nbytes`` (of n elements) over ``size`` ranks, a power
    of two, each with a port of α seconds and β seconds a byte."""
    if size == 1:
        return 0.0
    steps, share = TEXTBOOK[collective, algorithm]
    return steps(size) * alpha + share(size) * nbytes * beta
