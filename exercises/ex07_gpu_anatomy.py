"""Exercise 07: GPU anatomy.

Notebook: 07_gpu_anatomy.ipynb.

You write your first kernels: one thread for one element, then threads that read memory as a warp
likes to be served, then threads that work together. They run on a simulator that watches every
access; given CuPy arrays, the same kernels run on a GPU.

A kernel is launched as ``add[grid, block](x, y, out)``: grid is the number of blocks, block the
number of threads in each; both may be tuples (along x, along y). It returns nothing, but writes
into its arrays. Those called ``out`` hold NaN at first, so what no thread writes stays NaN.

In a kernel only the kernel language counts: numbers, arithmetic, if, for i in range(…), while,
``cuda.…``, ``math.…``, ``np.float32`` and the like, array elements and .shape and .size of arrays,
``min``, ``max``, ``abs``, ``len``, and functions of your own with ``@cuda.jit(device=True)`` above.
"""

import numpy as np

from kernels import cuda

TILE = 32
ROWS = 8


@cuda.jit
def add(x, y, out):
    """Add two vectors, one element a thread: out = x + y.

    The grid is as large as it has to be, or larger: blocks are whole, and the last threads may have
    no element of their own. They must not touch memory. ``cuda.grid(1)`` numbers the threads of all
    blocks.

    Arguments: x, y, out: (n,), float32.
    Launch: ``add[blocks, threads]``, with at least n threads in all.
    """
    raise NotImplementedError("ex07_gpu_anatomy: add")


@cuda.jit
def scale(x, a, out):
    """Multiply a vector by a number, out = a·x, with however few threads there are.

    Each thread takes several elements. This works, and is slow:

        each = (x.size + cuda.gridsize(1) - 1) // cuda.gridsize(1)
        for i in range(each * cuda.grid(1), min(each * (cuda.grid(1) + 1), x.size)):
            out[i] = a * x[i]

    (``cuda.gridsize(1)`` is the number of all threads.) In one pass of the loop the 32 threads of a
    warp read elements that lie ``each`` apart, and a sector of 32 bytes has to be moved for every
    one of them. Divide the elements among the threads so that a warp reads 32 neighbours at a time.

    Arguments: x, out: (n,), float32. a: a number.
    Launch: ``scale[blocks, threads]``, any numbers.
    """
    raise NotImplementedError("ex07_gpu_anatomy: scale")


@cuda.jit
def transpose(x, out):
    """Transpose a matrix, out[j, i] = x[i, j], in tiles of TILE x TILE elements.

    Read along the rows of x and write along the rows of out, both with neighbouring threads at
    neighbouring elements: the tile turns in shared memory. Block (bx, by) reads the tile whose
    first element is x[by * TILE, bx * TILE]. A block has TILE x ROWS threads (along x, along y), so
    that each thread reads, and then writes, TILE / ROWS elements: those of rows ty, ty + ROWS, …

    Two things to look after. Nobody may read the tile before all have written it: every thread has
    to come to the barrier, also one that has no element (no early return, no barrier inside an if).
    And the threads of a warp that read down a column of the tile must find their 32 elements in 32
    different banks: element number i of shared memory lies in bank i mod 32.

    Arguments: x: (m, n), out: (n, m), float32. m and n need not be multiples of TILE.
    Launch: ``transpose[(n / TILE, m / TILE), (TILE, ROWS)]``, the divisions rounded up.
    """
    raise NotImplementedError("ex07_gpu_anatomy: transpose")


@cuda.jit
def row_sums(x, out):
    """Sum each row of a matrix: block i, one warp of 32 threads, sums row i.

    Lane t first sums the elements t, t + 32, t + 64 … of its row. Then the 32 sums become one
    without any memory: ``cuda.shfl_down_sync(0xFFFFFFFF, value, 16)`` gives lane t the value of
    lane t + 16 (a lane past the end gets its own value back). All 32 lanes have to call it. After
    five such steps, each half as far as the one before, lane 0 has the sum of all.

    Arguments: x: (m, n), out: (m,), float32. n need not be a multiple of 32.
    Launch: ``row_sums[m, 32]``.
    """
    raise NotImplementedError("ex07_gpu_anatomy: row_sums")


@cuda.jit
def total(x, out):
    """Sum a vector with many blocks of several warps each: out[0] is the sum of x.

    Here out holds 0 at first. Every thread sums some elements (neighbours at neighbours, as in
    ``scale``), each warp sums its 32 threads by shuffles, as in ``row_sums``. The sums of the warps
    meet in shared memory, where one thread adds them up. It brings the block's sum to out[0] with
    ``cuda.atomic.add(out, 0, …)``, which no other block can interrupt: one such operation a block.

    Arguments: x: (n,), out: (1,), float32.
    Launch: ``total[blocks, threads]``: any number of blocks of 32, 64 … or 1,024 threads, so that a
        block has at most 32 warps. The size of a shared array is a constant.
    """
    raise NotImplementedError("ex07_gpu_anatomy: total")


def occupancy(threads, registers, shared, sm):
    """Tell how many blocks of a kernel a multiprocessor has room for at a time. Plain Python.

    A multiprocessor (SM) can hold so many threads, so many blocks, so many registers and so many
    bytes of shared memory at a time; what runs out first is the limit. Only whole blocks fit.
    (Take the sizes as they are; real hardware also rounds them up.)

    Arguments:
        threads: of a block, at least 1.
        registers: that each thread needs, at least 1.
        shared: bytes of shared memory that a block needs; may be 0, and is no limit then.
        sm: a dict with "threads", "blocks", "registers" and "shared": what there is.
    Returns: (blocks, occupancy), a tuple: an integer, and the share of ``sm["threads"]`` that are
        there then, a float between 0 and 1.

    >>> sm = {"threads": 2048, "blocks": 32, "registers": 65536, "shared": 233472}
    >>> occupancy(256, 64, 0, sm)  # 65536 registers are 4 blocks of 256 · 64
    (4, 0.5)
    """
    raise NotImplementedError("ex07_gpu_anatomy: occupancy")
