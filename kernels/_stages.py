"""Rows on their way: copies from global to shared memory that a block starts some rows ahead.

A block that deals with one row after the other would stand still while each arrives. With
``stages`` rows in shared memory, all but one of them under way, memory is kept busy however long
the arithmetic takes, and no register holds what has not arrived. Each thread copies the elements
that it will use itself, so it waits for its own copies and for no other thread.
"""

import functools

import numpy as np

from kernels import cuda, ptx
from kernels._rows import BYTES, ELEMENT, shared_vectors

WAITS = {2: ptx.cp_async_wait1, 3: ptx.cp_async_wait2, 4: ptx.cp_async_wait3}


@functools.cache
def staged(dtype, T, V):
    """(fetch, collect) for rows of T threads, V accesses of 16 bytes each. A place in shared memory
    holds a row: T V accesses.

    ``fetch(x, row, rows, columns, slots, place)`` begins to copy a row of x, zeros after its end
    and for rows that do not exist; ``collect(slots, place, values)`` takes a row that has arrived
    into registers.
    """
    W = BYTES // np.dtype(ELEMENT[dtype]).itemsize
    SLOT = T * V * W
    read_slot, _ = shared_vectors(dtype, True)

    @cuda.jit(device=True)
    def fetch(x, row, rows, columns, slots, place):
        for v in cuda.unroll(V):
            column = (v * T + cuda.threadIdx.x) * W
            count = BYTES if row < rows and column < columns else 0
            ptx.cp_async16(slots, place * SLOT + column, x, row * columns + column, count)

    @cuda.jit(device=True)
    def collect(slots, place, values):
        for v in cuda.unroll(V):
            read_slot(slots, place * SLOT + (v * T + cuda.threadIdx.x) * W, values, v * W)

    return fetch, collect
