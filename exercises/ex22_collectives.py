"""Exercise 22: collectives, made of messages from one rank to another.

Notebook: 22_collectives.ipynb.

The first five functions are programs for P ranks: each rank runs them, with a communicator of its
own. What ``comm`` has here:

    comm.rank, comm.size                 which rank this is, 0 to P − 1, and P
    comm.send(x, dest)                   sends array x, and waits until it has been received
    comm.recv(like, source)              returns the array that comes next from rank source, a new
                                         one; ``like`` is any array of its shape and dtype, such as
                                         np.empty_like(x), and is not filled
    comm.send_recv(x, dest, source)      sends x, and returns an array as large that comes meanwhile
    comm.isend(x, dest)                  copies x and goes on; returns a handle, whose .wait() waits
                                         until it has been received
    comm.irecv(like, source)             goes on; returns a handle, whose .wait() waits for the
                                         array and returns it

Nothing else of it may be used, and of modules NumPy alone: the collectives themselves are what is
to be built. Messages are counted, and so is their time: α + n·β seconds for n bytes, where a rank
can send one message and receive one at a time. The last two functions are formulas for that time.
"""

import numpy as np


def ring_reduce_scatter(comm, x):
    """Give each rank one row of the sum of all ranks' arrays, by messages to the right neighbour.

    Arguments:
        x: of this rank, (P, n), float64; x of other ranks has the same shape.
    Returns: row number comm.rank of Σ x over all ranks, (n,).

    Each rank sends P − 1 rows in all, in P − 1 steps in which all ranks send and receive at the
    same time. x itself must stay as it is.
    """
    raise NotImplementedError("ex22_collectives: ring_reduce_scatter")


def ring_all_gather(comm, row):
    """Give all ranks the rows of all ranks, by messages to the right neighbour.

    Arguments:
        row: of this rank, (n,), float64.
    Returns: (P, n): the row of rank 0, of rank 1, and so on.

    Each rank sends P − 1 rows in all, in P − 1 steps.
    """
    raise NotImplementedError("ex22_collectives: ring_all_gather")


def all_reduce(comm, x):
    """Give all ranks the sum of all ranks' arrays.

    Arguments:
        x: of this rank, (n,), float64, the same n on all ranks; P need not divide it.
    Returns: Σ x over all ranks, (n,).

    Use the two functions above. Where P does not divide n, add zeros at the end until it does, and
    take them off again. With m numbers then, no rank sends more than 2·(P − 1)/P·m.
    """
    raise NotImplementedError("ex22_collectives: all_reduce")


def tree_broadcast(comm, x, root):
    """Give all ranks the root's array, in as few steps as there are doublings up to P.

    In the first step the root sends to one rank, in the second these two send to two others, and so
    on: in step k, those who have it, 2ᵏ ranks, send to 2ᵏ others, until all P have it, whether P is
    a power of two or not. Which rank hears from which is yours to choose.

    Arguments:
        x: of this rank, (n,), float64; only the root's matters, the others' have the same shape.
        root: a rank, an int.
    Returns: the root's x, (n,), on every rank.
    """
    raise NotImplementedError("ex22_collectives: tree_broadcast")


def all_to_all(comm, x):
    """Send row d to rank d, for all d, and put together what comes in.

    Arguments:
        x: of this rank, (P, n), float64; row d is for rank d.
    Returns: (P, n): row s is what rank s had for this rank.

    Each rank sends P − 1 rows, each straight to where it belongs, in P − 1 steps in which all ranks
    send and receive at the same time.
    """
    raise NotImplementedError("ex22_collectives: all_to_all")


def all_reduce_seconds(P, nbytes, alpha, beta):
    """Predict how long an AllReduce takes, by three algorithms.

    ring: P − 1 steps there and P − 1 back, each with 1/P of the bytes.
    recursive doubling: log₂P steps, each with all the bytes.
    halving and doubling: log₂P steps with 1/2, 1/4, … 1/P of the bytes, then the same steps in the
    reverse order.

    Arguments:
        P: how many ranks, a power of two, 1 or more.
        nbytes: of the array.
        alpha, beta: seconds of a message, and of each of its bytes.
    Returns: {"ring": seconds, "recursive doubling": seconds, "halving and doubling": seconds},
        floats.

    >>> all_reduce_seconds(4, 100.0, 1.0, 0.5)
    {'ring': 81.0, 'recursive doubling': 102.0, 'halving and doubling': 79.0}
    """
    raise NotImplementedError("ex22_collectives: all_reduce_seconds")


def most_for_doubling(P, alpha, beta):
    """Say up to which size recursive doubling is the best of the three.

    For small arrays it is, as it has the fewest steps; for large ones it sends too much.

    Arguments:
        P: a power of two, 4 or more.
        alpha, beta: as above, positive.
    Returns: the number of bytes, a float, at which recursive doubling takes just as long as the
        better of the other two.

    >>> most_for_doubling(4, 1.0, 0.5)
    8.0
    """
    raise NotImplementedError("ex22_collectives: most_for_doubling")
