"""Exercise 27: between the products of matrices every rank keeps its own positions.

Notebook: 27_sequence_parallelism.ipynb.

The first four functions run on P ranks, each with a communicator of its own. What ``comm`` has:

    comm.rank, comm.size               which rank this is, 0 to P − 1, and P
    comm.all_gather(x)                 all ranks' arrays, one after the other along axis 0
    comm.reduce_scatter(x)             rank r's share of the sum of all ranks' x: of the rows of
                                       axis 0 the P-th part with number r
    comm.all_reduce(x)                 the whole sum on every rank; for small arrays only

Arrays that are sent have at least one axis. All ranks have to make the same calls, and messages are
counted. A text has L tokens; rank r has
positions r·L/P up to, not including, (r + 1)·L/P. A name with _r is what rank r has of its own.
Arrays are float64, unless something else is said, and P divides what it has to.

The last two functions are formulas, with the letters of the paper: s tokens, b sequences, width h,
a heads, t ranks.
"""

import numpy as np

EPS = 1e-5


def residual_and_norm(comm, Y_r, x_r, gain):
    """Leave one pair of products and enter the next: ḡ, residual, norm, g.

    Arguments:
        Y_r: (L, D), this rank's partial sum of what the pair of products gives, at all positions.
        x_r: (L/P, D), the residual stream at this rank's positions.
        gain: (D,), the weight of the norm.
    Returns: (x_r, N), a tuple: the residual stream after adding the finished sum, (L/P, D); and the
        norm of it at all positions, (L, D), the same on all ranks, for the next pair of products.
        It is an RMSNorm, which takes no mean off: of a row x it is x / √(mean of x² + EPS) · gain.

    Nothing is computed for other ranks' positions between ḡ and g. In training all ranks have the
    same gain. One test gives every rank another one, to see that a position is normed by its rank.
    """
    raise NotImplementedError("ex27_sequence_parallelism: residual_and_norm")


def norm_gradients(comm, x_r, gain, dN_r):
    """Go back through g and the norm of ``residual_and_norm``.

    For one row, with n = x / √(mean of x² + EPS) and dn = gain · dN, the gradient by x is
    (dn − n · mean of (dn · n)) / √(mean of x² + EPS), and that by the gain is dN · n, added up over
    all rows.

    Arguments:
        x_r: (L/P, D), what the norm was taken of, at this rank's positions.
        gain: (D,), the same on all ranks.
        dN_r: (L, D), the gradient of the loss by N at all positions, as far as it comes through
            this rank's columns of the products behind: a partial sum.
    Returns: (dx_r, dgain), a tuple: the gradient by x_r, (L/P, D); and the gradient by the gain,
        (D,), of all positions, the same on all ranks.
    """
    raise NotImplementedError("ex27_sequence_parallelism: norm_gradients")


def gathered_product_gradients(comm, x_r, A_r, dZ_r):
    """Go back through Z_r = x A_r, where forward gathered x and kept only x_r.

    Arguments:
        x_r: (L/P, D), this rank's positions of x.
        A_r: (D, F/P), this rank's columns of A.
        dZ_r: (L, F/P), the gradient of the loss by Z_r, at all positions.
    Returns: (dx_r, dA_r), a tuple, of the shapes of x_r and A_r, both complete.
    """
    raise NotImplementedError("ex27_sequence_parallelism: gathered_product_gradients")


def dropout_share(comm, x_r, p, seed):
    """Drop out numbers at this rank's positions, just as one device would with all of them.

    One device draws np.random.default_rng(seed).random((L, D)), keeps the numbers of x where the
    draw is at least p, divided by 1 − p, and sets the others to 0.

    Arguments:
        x_r: (L/P, D), this rank's positions of x.
        p: the probability to be dropped, a float below 1.
        seed: an int, the same on all ranks.
    Returns: (L/P, D), this rank's positions of the result.

    No messages are needed.
    """
    raise NotImplementedError("ex27_sequence_parallelism: dropout_share")


def activation_bytes(s, b, h, a, t, kind):
    """Count what a rank keeps of one block for the backward pass, in bytes.

    A block keeps, with 2 bytes a number and 1 byte an element of a mask, and a hidden width of 4h:
    the inputs of two norms; the common input of W_Q, W_K and W_V; queries; keys; values; of every
    score (s of them for each token and head) the result of the softmax, the mask of its dropout and
    what that leaves; the input of W_O; the mask of the dropout behind it; the input of the MLP, the
    input and the output of its GELU, 4h wide; and the mask of the dropout behind the MLP.

    Arguments:
        s, b, h, a, t: integers; t divides a and h.
        kind: "tensor": only what lies between f and g, from queries to the input of W_O and around
            GELU, is cut among the ranks; "sequence": everything is, since backward gathers the
            inputs of the products again.
    Returns: the number of bytes, a float.

    >>> activation_bytes(3, 1, 4, 2, 2, "tensor")
    309.0
    """
    raise NotImplementedError("ex27_sequence_parallelism: activation_bytes")


def sent_bytes(nbytes, P, kind):
    """Count the bytes that a rank sends for one block in a step, forward and backward.

    Arguments:
        nbytes: of b·s·h numbers.
        P: how many ranks; ring algorithms everywhere.
        kind: "tensor"; "sequence"; or "gathered again", where backward gathers the input of both
            pairs of products once more.
    Returns: {collective: bytes}, floats, of "all_reduce", "all_gather" and "reduce_scatter", all
        three, 0.0 for one that is not called. Gradients of norms are left out.

    >>> sent_bytes(100.0, 4, "tensor")
    {'all_reduce': 600.0, 'all_gather': 0.0, 'reduce_scatter': 0.0}
    """
    raise NotImplementedError("ex27_sequence_parallelism: sent_bytes")
