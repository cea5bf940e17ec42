"""Matrix products for the inside of kernels: small, on one thread, as fast as the core multiplies.

A **tile** of the result, ROWS rows by two vectors of columns, stays in registers while the inner
dimension is walked: each step loads two vectors of b and ROWS numbers of a, and does 2 ROWS vector
multiply-adds. So memory is touched rarely enough not to matter. This is the micro-kernel of BLIS
(Van Zee and van de Geijn, 2015).

For b to be read in one go it is kept in **panels**: (K, N) as (N / width, K, width), with `width`
the columns of a tile. Columns that fill up the last panel may hold anything: what comes of them
is left out.
"""

import functools
import platform

import llvmlite.binding
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minigrad.cpu._jit import inner

VECTORS = 2


@functools.cache
def _machine():
    """(bytes of a vector register, rows of a tile): what the registers of this machine hold."""
    try:
        features = llvmlite.binding.get_host_cpu_features()
    except RuntimeError:  # LLVM cannot ask this kind of machine
        features = {}
    if features.get("avx512f"):
        return 64, 8
    if features.get("avx"):
        return 32, 4
    return 16, 8 if platform.machine() in ("arm64", "aarch64") else 4


ROWS = _machine()[1]


def panel_width(dtype):
    """Columns of a tile, and so of a panel: ROWS or a multiple of it, so that a matrix padded to
    whole panels is also padded to whole tiles when it is transposed."""
    return max(VECTORS * _machine()[0] // np.dtype(dtype).itemsize, ROWS)


@inner()
def product(c, a, b, rows, inner, panels, add):
    """c = a @ b, or c += a @ b if `add`, for that many rows and panels of c and inner columns of a.

    a (M, K) with any strides, b in panels (N / width, K, width), c (M, N) with unit stride in its
    rows. `rows` is rounded up to a multiple of ROWS.
    """
    for p in range(panels):
        for i in range(0, rows, ROWS):
            _tile(c, a, b, i, p, inner, add)


@intrinsic
def _tile(typing, c, a, b, i, p, inner, add):
    """c = or += a @ b for ROWS rows from row `i` and the columns of panel `p`, in registers."""
    element = c.dtype
    lanes = panel_width(str(element)) // VECTORS
    cells = [(row, vector) for row in range(ROWS) for vector in range(VECTORS)]

    def codegen(context, builder, signature, arguments):
        number, index = context.get_value_type(element), ir.IntType(64)
        size = element.bitwidth // 8
        vector_type = ir.VectorType(number, lanes)
        c, a, b = (
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args[:3], arguments)
        )
        i, p, inner, add = arguments[3:]
        c_row, _ = cgutils.unpack_tuple(builder, c.strides)
        a_row, a_column = cgutils.unpack_tuple(builder, a.strides)
        b_panel, b_row, _ = cgutils.unpack_tuple(builder, b.strides)

        def at(base, step, count, kind):
            """A pointer to `kind`, `count` times `step` bytes after another pointer."""
            base = builder.bitcast(base, ir.IntType(8).as_pointer())
            return builder.bitcast(builder.gep(base, [builder.mul(step, count)]), kind.as_pointer())

        c_start = at(at(c.data, c_row, i, number), index(VECTORS * lanes * size), p, number)
        a_start = at(a.data, a_row, i, number)
        b_start = at(b.data, b_panel, p, number)

        def cell_pointer(row, vector):
            start = at(c_start, c_row, index(row), number)
            return at(start, index(lanes * size), index(vector), vector_type)

        before = builder.block
        load, loop, step, done = (
            builder.append_basic_block(name) for name in ("load", "loop", "step", "done")
        )
        builder.cbranch(cgutils.is_true(builder, add), load, loop)

        builder.position_at_end(load)
        loaded = [builder.load(cell_pointer(*cell), align=size) for cell in cells]
        builder.branch(loop)

        builder.position_at_end(loop)
        k = builder.phi(index)
        k.add_incoming(index(0), before)
        k.add_incoming(index(0), load)
        totals = [builder.phi(vector_type) for _ in cells]
        for total, value in zip(totals, loaded):
            total.add_incoming(ir.Constant(vector_type, [0.0] * lanes), before)
            total.add_incoming(value, load)
        builder.cbranch(builder.icmp_signed("<", k, inner), step, done)

        builder.position_at_end(step)
        b_now = at(b_start, b_row, k, number)
        a_now = at(a_start, a_column, k, number)
        columns = [
            builder.load(at(b_now, index(lanes * size), index(vector), vector_type), align=size)
            for vector in range(VECTORS)
        ]
        factors = [
            _spread(builder, builder.load(at(a_now, a_row, index(row), number)), vector_type)
            for row in range(ROWS)
        ]
        for (row, vector), total in zip(cells, totals):
            term = builder.fmul(factors[row], columns[vector], flags=["contract"])
            total.add_incoming(builder.fadd(total, term, flags=["contract"]), step)
        k.add_incoming(builder.add(k, index(1)), step)
        builder.branch(loop)

        builder.position_at_end(done)
        for cell, total in zip(cells, totals):
            builder.store(total, cell_pointer(*cell), align=size)
        return context.get_dummy_value()

    return types.void(c, a, b, i, p, inner, add), codegen


def _spread(builder, number, vector_type):
    """A vector that holds `number` in each of its lanes."""
    blank = ir.Constant(vector_type, ir.Undefined)
    first = builder.insert_element(blank, number, ir.IntType(32)(0))
    order = ir.Constant(ir.VectorType(ir.IntType(32), vector_type.count), None)
    return builder.shuffle_vector(first, blank, order)


@intrinsic
def dense(typing, row):
    """A row (n,) of some array, promised to have unit stride, so that loops over it vectorize."""
    unit = row.copy(layout="C")

    def codegen(context, builder, signature, arguments):
        context.nrt.incref(builder, row, arguments[0])
        return arguments[0]

    return unit(row), codegen
