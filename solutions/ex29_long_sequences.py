"""Exercise 29: long sequences.

Notebook: 29_long_sequences.ipynb.

You take a softmax in parts and merge them, find an order of positions that gives all ranks the same
work, and compute causal attention over a sequence of which every rank holds a part: by exchanging
heads, and by a ring.

Letters: L positions, P ranks with L/P positions each, H the width of a head, n_h heads.

The last two functions are programs for P ranks: each rank runs them, with a communicator of its
own. What ``comm`` has in ulysses_attention, beside comm.rank, 0 to P − 1, and comm.size, P:

    comm.all_to_all(x, split_axis, concat_axis)
                                     cuts x into P equal pieces along one axis, sends piece r to
                                     rank r, and puts together what comes in along the other axis:
                                     the piece from rank 0 first

and in ring_attention:

    comm.send_recv(x, dest, source)  sends x to rank dest, and receives as large an array of the
                                     same dtype from rank source meanwhile, which it returns
    comm.send(x, dest)               sends x, and waits until it has been received
    comm.recv(like, source)          the array that comes next from rank source; ``like`` is any
                                     array of its shape and dtype
    comm.isend(x, dest)              the same as send and recv, but they return a handle at once.
    comm.irecv(like, source)         handle.wait() waits, and that of irecv returns what has come;
                                     ``like`` is not filled
"""

import numpy as np


def partial_softmax(q, k, v, mask):
    """Attend to a part of all keys, and keep what is needed to add the other parts later.

    The scores are q·kᵀ / √H, where the mask allows it. Divide nothing by a sum yet.

    Arguments:
        q: (n, H), float64; k: (m, H); v: (m, H).
        mask: (n, m), bool, True where query i sees key j. A query may see no key of this part.
    Returns: (top, total, mixed): top (n, 1), the largest score that each query sees, −∞ if it sees
        none; total (n, 1), the sum of e^(score − top) over what it sees, 0 if nothing; mixed
        (n, H), the sum of e^(score − top)·value, zeros if nothing. No NaN anywhere.
    """
    ### BEGIN SOLUTION
    scores = np.where(mask, q @ k.T / np.sqrt(q.shape[1]), -np.inf)  # (n, m)
    top = scores.max(axis=1, keepdims=True)
    p = np.exp(scores - np.where(mask.any(axis=1, keepdims=True), top, 0.0))
    return top, p.sum(axis=1, keepdims=True), p @ v
    ### END SOLUTION


def merge(a, b):
    """Make one part of a softmax out of two: what partial_softmax would give for all their keys.

    Arguments:
        a, b: (top, total, mixed) as above, of the same queries and different keys. Either may have
            rows that have seen nothing, or both in the same row.
    Returns: (top, total, mixed), top the larger one of each row. No NaN anywhere.
    """
    ### BEGIN SOLUTION
    top = np.maximum(a[0], b[0])
    level = np.where(np.isneginf(top), 0.0, top)
    keep, add = np.exp(a[0] - level), np.exp(b[0] - level)
    return top, a[1] * keep + b[1] * add, a[2] * keep + b[2] * add
    ### END SOLUTION


def zigzag_positions(length, P, rank):
    """Tell which positions of a sequence a rank holds in the zig-zag order.

    The sequence is cut into 2P chunks of the same length; rank r has chunk r and, behind it, chunk
    2P − 1 − r.

    Arguments: integers; 2P divides length.
    Returns: (length/P,), int64.

    >>> zigzag_positions(8, 2, 1)
    array([2, 3, 4, 5])
    """
    ### BEGIN SOLUTION
    chunk = length // (2 * P)
    first, last = rank * chunk, (2 * P - 1 - rank) * chunk
    return np.concatenate([np.arange(first, first + chunk), np.arange(last, last + chunk)])
    ### END SOLUTION


def work(length, P, layout):
    """Count the (query, key) pairs that each rank works on under a causal mask.

    A rank works on its own queries, with all keys of the whole sequence that they see: position i
    sees positions 0 to i, itself too.

    Arguments:
        length, P: integers; 2P divides length.
        layout: "contiguous": rank r has positions r·L/P to (r + 1)·L/P − 1; or "zigzag".
    Returns: a list of P integers.
    """
    ### BEGIN SOLUTION
    held = np.arange(length).reshape(P, -1)  # (P, L/P)
    if layout == "zigzag":
        held = np.array([zigzag_positions(length, P, rank) for rank in range(P)])
    return (held + 1).sum(axis=1).tolist()
    ### END SOLUTION


def ulysses_attention(comm, q, k, v):
    """Causal attention of n_h heads by exchanging positions for heads, and back.

    Arguments:
        q, k, v: of this rank, (n_h, L/P, H), float64: positions r·L/P to (r + 1)·L/P − 1 of all
            heads. P divides n_h.
    Returns: (n_h, L/P, H): softmax(q·kᵀ / √H)·v of these positions, where position i sees 0 to i.

    There is no batch axis here. After the exchange, take partial_softmax head by head, with all
    keys in one part. Nothing is sent twice: one exchange each for q, k, v and the result.
    """
    ### BEGIN SOLUTION
    q, k, v = (comm.all_to_all(x, 0, 1) for x in (q, k, v))  # (n_h, L/P, H) -> (n_h/P, L, H)
    mask = np.tri(q.shape[1], dtype=bool)
    seen = [partial_softmax(*head, mask) for head in zip(q, k, v)]
    y = np.array([mixed / total for _, total, mixed in seen])  # (n_h/P, L, H)
    return comm.all_to_all(y, 1, 0)  # (n_h/P, L, H) -> (n_h, L/P, H)
    ### END SOLUTION


def ring_attention(comm, q, k, v, places):
    """Causal attention of one head by passing keys and values round a ring.

    Queries stay. Each rank works on the keys and values that it has, and passes them on to rank
    r + 1, P − 1 times, until all ranks have seen all. Keep no more than you need for that: two of
    the P pieces of keys and values, the rank's and the one that comes, and one (L/P, L/P) block of
    scores at a time. So merge each part at once, and collect nothing. The first part has nothing to
    be merged with; or begin with one that has seen nothing: −∞, 0 and zeros.

    Arguments:
        q, k, v: of this rank, (L/P, H), float64.
        places: (L/P,), int64: the positions of this rank's rows in the sequence, in any order; no
            other rank knows them.
    Returns: (L/P, H): softmax(q·kᵀ / √H)·v of these positions, where position i sees 0 to i.
    """
    ### BEGIN SOLUTION
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    seen, theirs = None, places
    for step in range(comm.size):
        mask = theirs <= places[:, None]  # (L/P, L/P): key j is not later than query i
        part = partial_softmax(q, k, v, mask)
        seen = part if seen is None else merge(seen, part)
        if step < comm.size - 1:
            k, v, theirs = (comm.send_recv(x, right, left) for x in (k, v, theirs))
    return seen[2] / seen[1]
    ### END SOLUTION
