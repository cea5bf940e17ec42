"""Collectives built from send and receive alone: one file an algorithm.

An algorithm is a function of ``p``, a rank's point-to-point endpoint (``p.rank``, ``p.size``,
``p.send(x, to)``, ``p.recv(like, source)``, ``p.send_recv(x, to, like, source)``), and of arrays;
``like`` is an array of the shape and dtype to be received. Those that combine take
``combine(a, b)``, which leaves in a what the two make together.

CHOICES names the algorithms of each collective; ``chosen`` picks one by the size of the message:
many small steps' latency weighs most for few bytes, bandwidth for many (Thakur, Rabenseifner and
Gropp 2005).
"""

from minigrad.distributed.algorithms import direct, recursive, ring, tree
from minigrad.distributed.algorithms.pieces import chunks

CHOICES = {
    "all_reduce": {
        "ring": ring.all_reduce,
        "tree": tree.all_reduce,
        "recursive doubling": recursive.all_reduce,
        "halving and doubling": recursive.all_reduce_halving,
        "direct": direct.all_reduce,
    },
    "reduce_scatter": {
        "ring": ring.reduce_scatter,
        "recursive halving": recursive.reduce_scatter,
        "direct": direct.reduce_scatter,
    },
    "all_gather": {
        "ring": ring.all_gather,
        "recursive doubling": recursive.all_gather,
        "direct": direct.all_gather,
    },
    "broadcast": {
        "tree": tree.broadcast,
        "ring": ring.broadcast,
        "direct": direct.broadcast,
    },
    "reduce": {"tree": tree.reduce, "ring": ring.reduce, "direct": direct.reduce},
    "scatter": {"tree": tree.scatter, "direct": direct.scatter},
    "gather": {"tree": tree.gather, "direct": direct.gather},
    "all_to_all": {"direct": direct.all_to_all, "bruck": recursive.all_to_all},
}

SMALL = 64 * 1024  # bytes; up to here latency is what counts

SMALL_CHOICE = {
    "all_reduce": "recursive doubling",
    "reduce_scatter": "recursive halving",
    "all_gather": "recursive doubling",
    "broadcast": "tree",
    "reduce": "tree",
    "scatter": "tree",
    "gather": "tree",
    "all_to_all": "direct",
}
LARGE_CHOICE = {**SMALL_CHOICE, "all_reduce": "ring", "reduce_scatter": "ring"} | {
    "all_gather": "ring",
    "broadcast": "ring",
    "reduce": "ring",
    "scatter": "direct",
    "gather": "direct",
}


def chosen(collective, algorithm, nbytes):
    """The algorithm's name: the one asked for, or the one for messages of that many bytes."""
    if algorithm is None:
        return (SMALL_CHOICE if nbytes <= SMALL else LARGE_CHOICE)[collective]
    return algorithm
