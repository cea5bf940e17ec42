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
    ### BEGIN SOLUTION
    j, i = cuda.grid(2)
    if i < out.shape[0] and j < out.shape[1]:
        total = np.float32(0)
        for k in range(a.shape[1]):
            total += a[i, k] * b[k, j]
        out[i, j] = total
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    tile_a = cuda.shared.array((TILE, TILE), np.float32)
    tile_b = cuda.shared.array((TILE, TILE), np.float32)
    j, i = cuda.grid(2)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    total = np.float32(0)
    for start in range(0, a.shape[1], TILE):
        inside = i < a.shape[0] and start + tx < a.shape[1]
        tile_a[ty, tx] = a[i, start + tx] if inside else 0.0
        inside = start + ty < b.shape[0] and j < b.shape[1]
        tile_b[ty, tx] = b[start + ty, j] if inside else 0.0
        cuda.syncthreads()
        for k in range(TILE):
            total += tile_a[ty, k] * tile_b[k, tx]
        cuda.syncthreads()
    if i < out.shape[0] and j < out.shape[1]:
        out[i, j] = total
    ### END SOLUTION


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
    ### BEGIN SOLUTION
    tile_a = cuda.shared.array((TILE * EACH, TILE), np.float32)
    tile_b = cuda.shared.array((TILE, TILE), np.float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    top, j = cuda.blockIdx.y * TILE * EACH + ty, cuda.blockIdx.x * TILE + tx
    totals = cuda.local.array(EACH, np.float32)
    for e in range(EACH):
        totals[e] = 0
    for start in range(0, a.shape[1], TILE):
        for e in range(EACH):
            i = top + e * TILE
            inside = i < a.shape[0] and start + tx < a.shape[1]
            tile_a[ty + e * TILE, tx] = a[i, start + tx] if inside else 0.0
        inside = start + ty < b.shape[0] and j < b.shape[1]
        tile_b[ty, tx] = b[start + ty, j] if inside else 0.0
        cuda.syncthreads()
        for k in range(TILE):
            of_b = tile_b[k, tx]
            for e in range(EACH):
                totals[e] += tile_a[ty + e * TILE, k] * of_b
        cuda.syncthreads()
    for e in range(EACH):
        if top + e * TILE < out.shape[0] and j < out.shape[1]:
            out[top + e * TILE, j] = totals[e]
    ### END SOLUTION
