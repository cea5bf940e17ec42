"""Exercise 09: tiled matrix products.

Notebook: 09_tiled_matmul.ipynb.

Three kernels for the same product, C = A·B, each moving less than the one before: one number of C a
thread, then tiles in shared memory, then several numbers of C in the registers of each thread.

A is ``a``, (M, K); B is ``b``, (K, N); C is ``out``, (M, N), NaN at first; all float32. None of the
sizes need be a multiple of anything. Block (bx, by) computes a tile of C whose first number is
C[by * rows, bx * columns], for tiles of rows x columns numbers: so x counts along N and y along M.

In a kernel only the kernel language counts, as in exercise 07; ``cuda.local.array(n, np.float32)``
is an array of a thread's own, in its registers if they have room. It holds nothing useful at first,
and neither does a shared array (here both hold NaN): set to 0 what you add to.
"""

import numpy as np

from kernels import cuda

TILE = 8
#: numbers of C that a thread of `column_matmul` computes
EACH = 4


@cuda.jit
def naive_matmul(a, b, out):
    """Compute C = A·B, one number of C in each thread, straight from global memory.

    Threads that follow each other along x, threadIdx.x = 0, 1, 2 …, are at neighbouring columns
    of C, so that a warp reads and writes neighbours.

    Launch: ``naive_matmul[(blocks along x, along y), (threads along x, along y)]``, enough blocks
    to cover C; ``cuda.grid(2)`` gives (x, y), a thread's place in all of them.
    """
    raise NotImplementedError("ex09_tiled_matmul: naive_matmul")


@cuda.jit
def tiled_matmul(a, b, out):
    """Compute C = A·B in tiles of TILE x TILE, through shared memory.

    A block computes one tile of C with TILE x TILE threads, one number in each. It goes along k in
    steps of TILE: all threads together bring a tile of A and one of B to shared memory, each thread
    one number of both; then each adds TILE products. So every number that is read from global
    memory is used TILE times.

    At the edges a tile sticks out of A or B. Zeros belong there, for they change no sum. Every
    thread passes every barrier, also those that have no number of C.

    Launch: ``tiled_matmul[(N / TILE, M / TILE), (TILE, TILE)]``, the divisions rounded up.
    """
    raise NotImplementedError("ex09_tiled_matmul: tiled_matmul")


@cuda.jit
def column_matmul(a, b, out):
    """Compute C = A·B with EACH numbers of C in every thread, one below the other.

    A block has TILE x TILE threads, and computes a tile of C, TILE * EACH high and TILE wide.
    Thread (tx, ty) keeps the numbers in rows ty, ty + TILE, ty + 2 TILE … of column tx of it. A
    tile of A, (TILE * EACH, TILE), and one of B, (TILE, TILE), come to shared memory in each step.

    What is gained: a number of B that a thread has read from shared memory once is used for EACH
    products. Per product there are (1 + 1 / EACH) reads of shared memory in place of 2.

    Launch: ``column_matmul[(N / TILE, M / (TILE * EACH)), (TILE, TILE)]``, rounded up.
    """
    raise NotImplementedError("ex09_tiled_matmul: column_matmul")
