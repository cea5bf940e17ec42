"""Exercise 10: FlashAttention.

Notebook: 10_flash_attention.ipynb.

You merge two halves of a softmax, write a softmax that sees its row only once, and build on it
attention that never has a matrix of scores, forward and (a part of it) backward.

One head of one text: q is (L, H), k and v are (S, H), float32; queries and keys are rows. The
scores are s = scale · q · kᵀ, (L, S). The weights of row i are p[i, j] = exp(s[i, j] − lse[i]),
where lse[i] is the logarithm of the sum of exp(s[i, j]) over j. Arrays whose name begins with
``out`` hold NaN at first. Scores may be of any size, so that exp(s) itself may be infinite.

In a kernel only the kernel language counts, as in exercises 07 and 09: an array that the block
shares is ``cuda.shared.array((BLOCK, HEAD), np.float32)``, one of a thread's own
``cuda.local.array(HEAD, np.float32)``, and both hold nothing useful at first (NaN here);
``cuda.syncthreads()`` is the barrier, ``-math.inf`` minus infinity; then there are ``math.exp``,
``math.log`` and ``max``.
"""

import math

import numpy as np

from kernels import cuda

#: rows of a tile, and threads of a block; width of the head
BLOCK = 16
HEAD = 8


def merge(first, second):
    """Merge what was computed of the same rows from two sets of keys.

    The state of some rows, for some of their keys, is (m, l, o): m (L,), the largest score; l (L,),
    the sum of exp(s − m); o (L, H), the sum of exp(s − m)·v, which is not divided by l.

    Arguments: first, second: states, tuples of three float64 arrays; each has seen a key or more.
    Returns: the state for both sets of keys together, a tuple of three float64 arrays.
    """
    raise NotImplementedError("ex10_flash_attention: merge")


def attention_bytes(L, H, block, itemsize):
    """Count the bytes that attention moves to and from memory, for one head, forward: two ways.

    Standard: three steps, each of which reads its inputs from memory and writes its result there,
    each number once: S = Q·Kᵀ, then P = softmax(S), then O = P·V. S and P are (L, L).

    Flash: for each block of ``block`` queries Q is read and O is written once, and all of K and V
    are read. Scores stay on the chip. (The last block may be smaller.) It is the count without a
    cache, the notebook's second, in which K and V come anew for each block.

    Q, K, V and O are (L, H). The log-sum-exp and the scale are not counted.
    Arguments: integers, at least 1.
    Returns: (standard, flash), a tuple of two integers.

    >>> attention_bytes(4, 2, 2, 1)  # 16 + 16, 16 + 16, 16 + 8 + 8; two blocks: 8 + 8 + 2 · 16
    (96, 48)
    """
    raise NotImplementedError("ex10_flash_attention: attention_bytes")


@cuda.jit
def online_softmax(x, out):
    """Compute the softmax of each row, one row a thread, reading each number of x only twice.

    First pass over the row: keep the largest number so far, m, and the sum of exp(x − m) so far, l.
    Whenever m grows, what is in l was computed with the old m, and has to be brought to the new
    one. Take each number into a variable, so that it is read once in this pass. Second pass: write
    exp(x − m) / l. ``out`` is only written, each number once.

    Arguments: x, out: (R, n), float32; n may be large, so no thread keeps a row.
    Launch: ``online_softmax[blocks, threads]``, R threads or more; neighbouring threads are at
    neighbouring rows, which is not how memory likes it: the idea comes first.
    """
    raise NotImplementedError("ex10_flash_attention: online_softmax")


@cuda.jit
def flash_forward(q, k, v, scale, out, out_lse):
    """Compute attention, softmax(scale · q · kᵀ) · v, and the log-sum-exp of each row of scores.

    Each thread takes one query, a block BLOCK of them. The block goes along the keys in tiles of
    BLOCK keys, which its threads bring to shared memory together, a row of k and a row of v each.
    Each thread then takes key after key (or those of a tile together): it computes the score, and
    updates its m, l and its HEAD sums of exp(s − m)·v, as in ``online_softmax``. In the end the
    sums are divided by l. Query and sums are in arrays of the thread's own: q is read once, and
    ``out`` only written, once.

    In the last tile there may be fewer keys; and threads without a query of their own still bring
    keys and pass every barrier.

    Arguments: q: (L, HEAD); k, v: (S, HEAD), with S of any size; scale: a number; out: (L, HEAD);
        out_lse: (L,).
    Launch: ``flash_forward[blocks, BLOCK]``, with L threads or more.
    """
    raise NotImplementedError("ex10_flash_attention: flash_forward")


@cuda.jit
def flash_backward_dv(q, k, scale, lse, dout, out):
    """Compute the gradient of v, dV = pᵀ · dout, with p computed anew from the saved lse.

    Now each thread takes one key, and the block goes along the queries in tiles of BLOCK: rows of q
    and dout and numbers of lse come to shared memory. For each query, p = exp(s − lse) needs no
    largest score and no rescaling: lse is known. No two threads write the same row of dV. Key and
    sums are in arrays of the thread's own: k is read once, and ``out`` only written, once.

    Arguments: q, dout: (L, HEAD), with L of any size; k: (S, HEAD); scale: a number; lse: (L,);
        out: (S, HEAD), for dV.
    Launch: ``flash_backward_dv[blocks, BLOCK]``, with S threads or more.
    """
    raise NotImplementedError("ex10_flash_attention: flash_backward_dv")
