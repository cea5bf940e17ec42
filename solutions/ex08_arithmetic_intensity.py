"""Exercise 08: arithmetic intensity and the roofline.

Notebook: 08_arithmetic_intensity.ipynb.

You count arithmetic and bytes, decide what a machine waits for, and find out how large a tile of a
matrix product has to be until it waits no more. No kernels here, only numbers.

A machine has two speeds: ``peak``, the arithmetic that it can do, in FLOP/s, and ``bandwidth``, the
bytes that its memory can move, in bytes/s. A multiplication and an addition are 2 FLOP.
"""

import numpy as np


def matmul_cost(M, N, K, itemsize):
    """Count the arithmetic and the bytes of C = A·B, if each number is moved only once.

    A is (M, K), B is (K, N), C is (M, N): A and B are read, C is written. A number takes itemsize
    bytes. Each number of C is K multiplications and K additions.

    Arguments: integers, all at least 1.
    Returns: (FLOPs, bytes), a tuple of two integers.

    >>> matmul_cost(2, 3, 4, 4)  # 6 numbers of 8 FLOP; 8 + 12 + 6 numbers of 4 bytes
    (48, 104)
    """
    ### BEGIN SOLUTION
    return 2 * M * N * K, itemsize * (M * K + K * N + M * N)
    ### END SOLUTION


def tiled_bytes(M, N, K, T, itemsize):
    """Count the bytes of C = A·B, if it is computed in tiles of T x T numbers of C.

    For each tile the rows of A and the columns of B that belong to it are read anew, each number
    once: a full tile reads T rows of A and T columns of B. The tiles at the lower and right edges
    are smaller, where T does not divide M or N, and read less. Each number of C is written once.
    T = 1 is a product without any reuse.

    Arguments: integers, all at least 1.
    Returns: bytes, an integer.

    >>> tiled_bytes(5, 8, 2, 3, 4)  # 2 x 3 tiles: 30 numbers of A are read, 32 of B; 40 of C
    408
    """
    ### BEGIN SOLUTION
    across, down = -(-N // T), -(-M // T)
    return itemsize * (M * K * across + K * N * down + M * N)
    ### END SOLUTION


def limit(flops, nbytes, peak, bandwidth):
    """Tell what a machine waits for in a piece of work: its arithmetic or its memory.

    Arithmetic and memory work at the same time. The work is math-limited if the arithmetic takes
    longer, and memory-limited otherwise, also where both take equally long.

    Arguments: flops, nbytes: of the work, at least 1. peak, bandwidth: of the machine.
    Returns: "math" or "memory".
    """
    ### BEGIN SOLUTION
    return "math" if flops / peak > nbytes / bandwidth else "memory"
    ### END SOLUTION


def attainable(intensity, peak, bandwidth):
    """Compute the roof over a row of intensities: the most FLOP/s that work of each can reach.

    The arithmetic intensity of some work is its FLOP divided by its bytes.

    Arguments: intensity: (n,), float64, in FLOP/byte. peak, bandwidth: of the machine.
    Returns: (n,), float64, in FLOP/s.
    """
    ### BEGIN SOLUTION
    return np.minimum(peak, bandwidth * intensity)
    ### END SOLUTION


def smallest_tile(peak, bandwidth, itemsize):
    """Find the smallest power of two whose tiles make a large matrix product math-limited.

    In a product of large matrices, cut into full T x T tiles as in ``tiled_bytes``, the bytes of C
    do not matter beside those that are read. Count the FLOP and the bytes of one tile for one step
    of k (T numbers of A and T of B make T·T multiplications and additions), and compare their ratio
    with the machine's own: math-limited is what has more FLOP for each byte. (An H100 in float16
    wants 1,024. The notebook says why it can do with less.)

    Arguments: peak, bandwidth: of the machine. itemsize: bytes of a number of A or B.
    Returns: T, one of 1, 2, 4, 8, 16 …, an integer.
    """
    ### BEGIN SOLUTION
    T = 1
    while 2 * T * T / (2 * T * itemsize) <= peak / bandwidth:
        T *= 2
    return T
    ### END SOLUTION


def step_time(ops, peak, bandwidth):
    """Compute how long several pieces of work take one after the other, and what part is waiting.

    Each piece takes as long as its arithmetic or its memory, whichever is longer. Then the next one
    begins.

    Arguments:
        ops: a dict {name: (flops, nbytes)}, at least one.
        peak, bandwidth: of the machine.
    Returns: (seconds, share): the time of all, and the share of it (0 to 1) that is spent in pieces
        that are memory-limited; two floats.
    """
    ### BEGIN SOLUTION
    seconds = waiting = 0.0
    for flops, nbytes in ops.values():
        time = max(flops / peak, nbytes / bandwidth)
        seconds += time
        if limit(flops, nbytes, peak, bandwidth) == "memory":
            waiting += time
    return seconds, waiting / seconds
    ### END SOLUTION
