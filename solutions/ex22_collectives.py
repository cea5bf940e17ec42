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
    ### BEGIN SOLUTION
    P, r = comm.size, comm.rank
    x = x.copy()
    for step in range(1, P):
        out, into = (r - step) % P, (r - step - 1) % P
        x[into] += comm.send_recv(x[out], (r + 1) % P, (r - 1) % P)
    return x[r]
    ### END SOLUTION


def ring_all_gather(comm, row):
    """Give all ranks the rows of all ranks, by messages to the right neighbour.

    Arguments:
        row: of this rank, (n,), float64.
    Returns: (P, n): the row of rank 0, of rank 1, and so on.

    Each rank sends P − 1 rows in all, in P − 1 steps.
    """
    ### BEGIN SOLUTION
    P, r = comm.size, comm.rank
    rows = np.empty((P, len(row)), row.dtype)
    rows[r] = row
    for step in range(P - 1):
        out, into = (r - step) % P, (r - step - 1) % P
        rows[into] = comm.send_recv(rows[out], (r + 1) % P, (r - 1) % P)
    return rows
    ### END SOLUTION


def all_reduce(comm, x):
    """Give all ranks the sum of all ranks' arrays.

    Arguments:
        x: of this rank, (n,), float64, the same n on all ranks; P need not divide it.
    Returns: Σ x over all ranks, (n,).

    Use the two functions above. Where P does not divide n, add zeros at the end until it does, and
    take them off again. With m numbers then, no rank sends more than 2·(P − 1)/P·m.
    """
    ### BEGIN SOLUTION
    n, P = len(x), comm.size
    padded = np.zeros(-(-n // P) * P)
    padded[:n] = x
    mine = ring_reduce_scatter(comm, padded.reshape(P, -1))
    return ring_all_gather(comm, mine).reshape(-1)[:n]
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    P, place = comm.size, (comm.rank - root) % comm.size
    far = 1
    while far < P:
        if place < far and place + far < P:
            comm.send(x, (comm.rank + far) % P)
        elif far <= place < 2 * far:
            x = comm.recv(x, (comm.rank - far) % P)
        far *= 2
    return x
    ### END SOLUTION


def all_to_all(comm, x):
    """Send row d to rank d, for all d, and put together what comes in.

    Arguments:
        x: of this rank, (P, n), float64; row d is for rank d.
    Returns: (P, n): row s is what rank s had for this rank.

    Each rank sends P − 1 rows, each straight to where it belongs, in P − 1 steps in which all ranks
    send and receive at the same time.
    """
    ### BEGIN SOLUTION
    P, r = comm.size, comm.rank
    result = x.copy()
    for step in range(1, P):
        to, source = (r + step) % P, (r - step) % P
        result[source] = comm.send_recv(x[to], to, source)
    return result
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    steps = P.bit_length() - 1
    share = 2 * (P - 1) / P * nbytes * beta
    return {
        "ring": 2 * (P - 1) * alpha + share,
        "recursive doubling": steps * (alpha + nbytes * beta),
        "halving and doubling": 2 * steps * alpha + share,
    }
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    steps = P.bit_length() - 1
    return steps * alpha / (steps - 2 * (P - 1) / P) / beta
    ### END SOLUTION
