"""Exercise 26: one model on P ranks, each with a slice of every matrix.

Notebook: 26_tensor_parallelism.ipynb.

Each rank runs your functions with a communicator of its own. What ``comm`` has here:

    comm.rank, comm.size           which rank this is, 0 to P − 1, and P
    comm.all_reduce(x)             the sum of all ranks' arrays x, on every rank
    comm.all_reduce(x, "max")      the same with the largest number in place of the sum
    comm.all_gather(x)             all ranks' arrays, one after the other along axis 0; x has at
                                   least one axis

All ranks have to make the same calls. Messages are counted: two products of matrices take one
AllReduce of the result, forward, and one of the gradient, backward.

X is a text of L tokens, (L, D), the same on all ranks; a name with _r is a slice, another one on
every rank. Rank r's slice of something that has n columns, rows or words is number r·n/P up to, not
including, (r + 1)·n/P. All arrays are float64, unless something else is said, and P divides what
it has to.
"""

import numpy as np


def own_slices(comm, A, B):
    """Take this rank's slices of the two matrices of an MLP, relu(X A) B.

    Arguments:
        A: (D, F), the same on all ranks.
        B: (F, D2), the same on all ranks.
    Returns: (A_r, B_r), a tuple: of the one columns and of the other rows, so that the result of
        X A_r is just what B_r wants, and nobody has to speak between the two products.
    """
    ### BEGIN SOLUTION
    return np.split(A, comm.size, axis=1)[comm.rank], np.split(B, comm.size, axis=0)[comm.rank]
    ### END SOLUTION


def mlp(comm, X, A_r, B_r, bias):
    """Compute relu(X A) B + bias on all ranks, from slices.

    Arguments:
        X: (L, D), the same on all ranks.
        A_r: (D, F/P), this rank's columns of A.
        B_r: (F/P, D), this rank's rows of B.
        bias: (D,), not cut: the same on all ranks.
    Returns: Y, (L, D), the whole result on every rank: g is an AllReduce forward.
    """
    ### BEGIN SOLUTION
    hidden = np.maximum(X @ A_r, 0.0)  # (L, F/P)
    return comm.all_reduce(hidden @ B_r) + bias  # (L, D)
    ### END SOLUTION


def mlp_gradients(comm, X, A_r, B_r, dY):
    """Compute the gradients of ``mlp``, from that of its result.

    g is the identity backward: dY is the gradient of the one loss that all ranks have alike, and
    each rank takes it as it is. f is an AllReduce backward: X went into the slices of all ranks.

    Arguments:
        X, A_r, B_r: as for mlp; the bias changes nothing here.
        dY: (L, D), the gradient of the loss by Y, the same on all ranks.
    Returns: (dX, dA_r, dB_r), a tuple: the gradients of the loss by X, (L, D), whole on every rank,
        and by this rank's slices, of their shapes.
    """
    ### BEGIN SOLUTION
    hidden = np.maximum(X @ A_r, 0.0)  # (L, F/P)
    dB_r = hidden.T @ dY  # (F/P, D)
    dZ_r = (dY @ B_r.T) * (hidden > 0)  # (L, F/P)
    return comm.all_reduce(dZ_r @ A_r.T), X.T @ dZ_r, dB_r
    ### END SOLUTION


def attention(comm, X, W_Q_r, W_K_r, W_V_r, W_O_r, n_h):
    """Compute causal attention, each rank with n_h/P of the n_h heads.

    Head i has columns i·H to (i + 1)·H − 1 of W_Q, W_K and W_V, H = D/n_h, and as many rows of W_O,
    the same numbers: a rank is given those of its own heads. For each head S = Q Kᵀ / √H, position
    i sees positions up to i, and softmax(S) V is the head's result, (L, H); all heads' results side
    by side, (L, D), times the whole W_O, (D, D), is Y.

    Arguments:
        X: (L, D), the same on all ranks.
        W_Q_r, W_K_r, W_V_r: (D, D/P) each, the columns of this rank's heads.
        W_O_r: (D/P, D), the rows of this rank's heads.
        n_h: how many heads all ranks have together, which P divides.
    Returns: Y, (L, D), whole on every rank.
    """
    ### BEGIN SOLUTION
    L, D = X.shape
    H, heads = D // n_h, n_h // comm.size
    Q, K, V = ((X @ W).reshape(L, heads, H).swapaxes(0, 1) for W in (W_Q_r, W_K_r, W_V_r))
    S = Q @ K.swapaxes(1, 2) / np.sqrt(H)  # (heads, L, L)
    S = np.where(np.tri(L, dtype=bool), S, -np.inf)
    E = np.exp(S - S.max(axis=-1, keepdims=True))
    Y = E / E.sum(axis=-1, keepdims=True) @ V  # (heads, L, H)
    return comm.all_reduce(Y.swapaxes(0, 1).reshape(L, -1) @ W_O_r)
    ### END SOLUTION


def embedding(comm, ids, table_r):
    """Look up tokens in a table of which each rank has the rows of its own words.

    Arguments:
        ids: (L,), int64, the tokens, 0 to V − 1, the same on all ranks.
        table_r: (V/P, D), the rows of this rank's words.
    Returns: (L, D), the row of every token, whole on every rank.

    One AllReduce for all tokens is enough. A rank that has none of their words takes part in it.
    """
    ### BEGIN SOLUTION
    index = ids - comm.rank * len(table_r)
    inside = (index >= 0) & (index < len(table_r))
    rows = np.where(inside[:, None], table_r[np.where(inside, index, 0)], 0.0)  # (L, D)
    return comm.all_reduce(rows)
    ### END SOLUTION


def cross_entropy(comm, Z_r, targets):
    """Compute the loss and the gradient of logits, of which each rank has those of its own words.

    The loss of a token is log Σ_v e^(z_v) − z_target, over all V words. Logits can be 1000, or all
    of them −1000: subtract the token's largest of all V before exp. The logits themselves are too
    many to be sent: three numbers a token are enough.

    Arguments:
        Z_r: (n, V/P), this rank's logits of n tokens.
        targets: (n,), int64, 0 to V − 1, the same on all ranks.
    Returns: (loss, dZ_r), a tuple: the mean of the n losses, a float, the same on all ranks; and
        its gradient by this rank's logits, (n, V/P).
    """
    ### BEGIN SOLUTION
    n, words = Z_r.shape
    onehot = np.arange(words) == (targets - comm.rank * words)[:, None]  # (n, V/P)
    highest = comm.all_reduce(Z_r.max(axis=1), "max")  # (n,)
    E = np.exp(Z_r - highest[:, None])
    total = comm.all_reduce(E.sum(axis=1))
    chosen = comm.all_reduce((Z_r * onehot).sum(axis=1))
    loss = (np.log(total) + highest - chosen).mean()
    return float(loss), (E / total[:, None] - onehot) / n
    ### END SOLUTION


def likeliest(comm, z_r):
    """Choose the likeliest of all words, as greedy decoding does.

    Arguments:
        z_r: (V/P,), this rank's logits of one token.
    Returns: the number of the word with the largest logit of all, 0 to V − 1, an int, the same on
        all ranks; of several with the same logit, the first.

    No rank sends more than two numbers to each other rank.
    """
    ### BEGIN SOLUTION
    best = int(z_r.argmax())
    values = comm.all_gather(z_r[best : best + 1])  # (P,)
    words = comm.all_gather(np.array([comm.rank * len(z_r) + best]))  # (P,)
    return int(words[values.argmax()])
    ### END SOLUTION
