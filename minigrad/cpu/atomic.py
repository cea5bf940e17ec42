"""Numbers that several threads watch and change at once, inside compiled code."""

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np import arrayobj


@intrinsic
def look(typing, board, i):
    """board[i], and all that was written before it was."""

    def codegen(context, builder, signature, arguments):
        return builder.load_atomic(_place(context, builder, signature, arguments), "acquire", 8)

    return types.int64(board, i), codegen


@intrinsic
def show(typing, board, i, value):
    """board[i] = value, with all that was written before it."""

    def codegen(context, builder, signature, arguments):
        place = _place(context, builder, signature, arguments)
        builder.store_atomic(arguments[2], place, "release", 8)
        return context.get_dummy_value()

    return types.void(board, i, types.int64), codegen


@intrinsic
def add(typing, board, i, value):
    """board[i] += value, whoever else does so at the same time."""

    def codegen(context, builder, signature, arguments):
        place = _place(context, builder, signature, arguments)
        builder.atomic_rmw("add", place, arguments[2], "seq_cst")
        return context.get_dummy_value()

    return types.void(board, i, types.int64), codegen


@intrinsic
def swap(typing, board, i, old, new):
    """board[i] = new if it still is old; whether it was."""

    def codegen(context, builder, signature, arguments):
        place = _place(context, builder, signature, arguments)
        pair = builder.cmpxchg(place, arguments[2], arguments[3], "seq_cst", "acquire")
        return builder.extract_value(pair, 1)

    return types.boolean(board, i, types.int64, types.int64), codegen


@intrinsic
def rest(typing):
    """Tell the core that this loop waits."""
    machine = platform.machine().lower()

    def codegen(context, builder, signature, arguments):
        if machine in ("x86_64", "amd64"):
            kind, name, given = ir.FunctionType(ir.VoidType(), []), "llvm.x86.sse2.pause", []
        elif machine in ("aarch64", "arm64"):
            number = ir.IntType(32)
            kind, name = ir.FunctionType(ir.VoidType(), [number]), "llvm.aarch64.hint"
            given = [number(1)]  # yield
        else:
            return context.get_dummy_value()
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)
        return context.get_dummy_value()

    return types.void(), codegen


@intrinsic
def address(typing, array):
    """Where the first element of an array is."""

    def codegen(context, builder, signature, arguments):
        data = context.make_array(array)(context, builder, arguments[0]).data
        return builder.ptrtoint(data, ir.IntType(64))

    return types.int64(array), codegen


@intrinsic
def floats(typing, address):
    """A pointer to the float32 numbers at an address."""

    def codegen(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], ir.FloatType().as_pointer())

    return types.CPointer(types.float32)(types.int64), codegen


@intrinsic
def flags(typing, address):
    """A pointer to the bools at an address."""

    def codegen(context, builder, signature, arguments):
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.CPointer(types.boolean)(types.int64), codegen


@intrinsic
def floats_at(typing, address, shape, strides):
    """The float32 array of that shape and those strides, in bytes, from an address on."""
    kind = types.Array(types.float32, len(shape), "A")

    def codegen(context, builder, signature, arguments):
        array = context.make_array(kind)(context, builder)
        arrayobj.populate_array(
            array,
            data=builder.inttoptr(arguments[0], ir.FloatType().as_pointer()),
            shape=cgutils.unpack_tuple(builder, arguments[1]),
            strides=cgutils.unpack_tuple(builder, arguments[2]),
            itemsize=ir.IntType(64)(4),
            meminfo=None,
        )
        return array._getvalue()

    return kind(types.int64, shape, strides), codegen


def _place(context, builder, signature, arguments):
    """A pointer to board[i]."""
    board = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(board.data, [arguments[1]])
