"""The other side of the door: kernels compiled by Numba-CUDA to PTX, and that to machine code.

Both can be made, and with ptxas judged, on a machine that has no GPU. _driver.py launches them.
"""

import contextlib
import functools
import types

import ml_dtypes
import numpy as np
from numba import cuda
from numba.core import types as nb
from numba.cuda.extending import intrinsic as declare
from numba.np.numpy_support import from_dtype

import kernels._cuda
import kernels.hopper
import kernels.ptx
from kernels._bfloat16 import bfloat16
from kernels._lower import lowered
from kernels.sim.intrinsics import SHARED, Registers, Where

# What names mean to the compiler


@declare
def as_index(typingctx, i):
    """The same integer as uint64."""
    if not isinstance(i, nb.Integer):
        return None

    def generate(context, builder, signature, args):
        return context.cast(builder, args[0], i, nb.uint64)

    return nb.uint64(i), generate


@declare
def array_at(typingctx, address, size, like):
    """ptx.array_at: an array of one axis whose data begins at an address."""
    if not isinstance(address, nb.Integer) or not isinstance(like, nb.Array):
        return None
    kind = nb.Array(like.dtype, 1, "C")

    def generate(context, builder, signature, args):
        from llvmlite import ir

        made = context.make_array(kind)(context, builder)
        bits = context.cast(builder, args[0], address, nb.uint64)
        space = ir.PointerType(made.data.type.pointee, addrspace=1)
        pointer = builder.addrspacecast(builder.inttoptr(bits, space), made.data.type)
        word = context.get_value_type(nb.intp)
        itemsize = ir.Constant(word, context.get_abi_sizeof(pointer.type.pointee))
        length = context.cast(builder, args[1], size, nb.intp)
        made.data, made.nitems, made.itemsize = pointer, length, itemsize
        made.shape = context.make_tuple(builder, nb.UniTuple(nb.intp, 1), [length])
        made.strides = context.make_tuple(builder, nb.UniTuple(nb.intp, 1), [itemsize])
        return made._getvalue()

    return kind(address, size, like), generate


@functools.cache
def _device(function):
    return cuda.jit(device=True, forceinline=True)(translated(function))


def _counterpart(value):
    """What a kernel's global is for the compiler."""
    if value is kernels._cuda:
        return cuda
    if value is kernels.ptx or value is kernels.hopper:
        return _native_module(value)
    if value is ml_dtypes.bfloat16:
        return bfloat16
    if hasattr(value, "device_function"):
        return _device(value)
    native = getattr(value, "native", None)  # an intrinsic of ptx.py
    return value if native is None else native()


@functools.cache
def _native_module(source):
    """ptx.py or hopper.py with every intrinsic for the compiler."""
    module = types.ModuleType(source.__name__)
    for name, value in vars(source).items():
        if hasattr(value, "native") or hasattr(value, "device_function"):
            setattr(module, name, _counterpart(value))
    return module


@functools.cache
def translated(function):
    """A copy of a function for Numba."""
    return lowered(function, _counterpart, as_index)


# Compiling


def argument_type(arg):
    """Numba's type of an argument."""
    if hasattr(arg, "strides") and not isinstance(arg, np.generic):
        layout = "C" if arg.flags.c_contiguous else "A"
        return nb.Array(scalar_type(arg.dtype), arg.ndim, layout)
    if isinstance(arg, np.generic):
        return scalar_type(arg.dtype)
    for python, type_ in ((bool, nb.boolean), (int, nb.int64), (float, nb.float32)):
        if isinstance(arg, python):
            return type_
    raise TypeError(
        f"{type(arg).__name__} cannot be an argument of a kernel; expected an array or a number"
    )


def scalar_type(dtype):
    """Numba's type of a NumPy dtype, ml_dtypes.bfloat16 among them."""
    if dtype.name == "bfloat16":
        return bfloat16
    return from_dtype(dtype)


def ptx(kernel, argument_types, cc=(9, 0)):
    """The PTX of a kernel for arguments of these Numba types, made without a GPU."""
    with _as_if_on(cc):
        return cuda.compile_ptx(
            translated(kernel.function),
            nb.void(*argument_types),
            cc=cc,
            fastmath=kernel.fastmath,
            launch_bounds=kernel.launch_bounds,
        )[0]


def cubin(text, cc):
    """The machine code of a PTX text, bytes; made without a GPU."""
    from cuda.core import Program, ProgramOptions

    return bytes(
        Program(text, "ptx", ProgramOptions(arch="sm_" + "".join(map(str, cc))))
        .compile("cubin")
        .code
    )


@contextlib.contextmanager
def _as_if_on(cc):
    """Device functions ask for the machine's GPU; let them find one."""
    from numba.cuda import dispatcher

    real = dispatcher.get_current_device
    dispatcher.get_current_device = lambda: types.SimpleNamespace(compute_capability=cc)
    try:
        yield
    finally:
        dispatcher.get_current_device = real


# Intrinsics


def intrinsic(name, returns, takes, asm, memory, pure):
    """The intrinsic that puts one PTX instruction into a kernel; see ``sim.intrinsics``."""
    from llvmlite import ir

    letters = {
        "float32": "f",
        "uint32": "r",
        "int32": "r",
        "uint64": "l",
        "int64": "l",
        "float16": "h",
    }
    results = [from_dtype(np.dtype(each)) for each in returns]
    result = _result(results)
    names, operands = [], []
    for i, each in enumerate(takes):
        operands.append((each, len(names)))
        names += [f"array{i}", f"index{i}"] if isinstance(each, Where) else [f"x{i}"]
    changed = sum(each.count for each in takes if isinstance(each, Registers))
    constraints = ["=" + letters[np.dtype(each).name] for each in returns] + ["=f"] * changed
    places = [f"${i}" for i in range(len(returns))]  # what the asm's fields become
    tied = len(returns)
    for each in takes:
        if isinstance(each, Registers):
            places.append(", ".join(f"${tied + i}" for i in range(each.count)))
            constraints += [str(tied + i) for i in range(each.count)]
            tied += each.count
            continue
        places.append(f"${len(constraints)}")
        if isinstance(each, Where):
            constraints.append("r" if each is SHARED else "l")
        else:
            constraints.append(letters[np.dtype(each).name])
    template = asm.format(*places)

    def generate(context, builder, signature, args):
        values, pointers = [], []
        for each, at in operands:
            if isinstance(each, Where):
                values.append(_address(context, builder, signature.args, args, at, each))
            elif isinstance(each, Registers):
                data = context.make_array(signature.args[at])(context, builder, args[at]).data
                own = [
                    builder.gep(data, [ir.Constant(ir.IntType(64), i)]) for i in range(each.count)
                ]
                values += [builder.load(pointer) for pointer in own]
                pointers += own
            else:
                values.append(
                    context.cast(builder, args[at], signature.args[at], from_dtype(np.dtype(each)))
                )
        kinds = [context.get_value_type(each) for each in results] + [ir.FloatType()] * changed
        out = (
            ir.VoidType()
            if not kinds
            else kinds[0]
            if len(kinds) == 1
            else ir.LiteralStructType(kinds)
        )
        call = ir.InlineAsm(
            ir.FunctionType(out, [value.type for value in values]),
            template,
            ",".join([*constraints, *(["~{memory}"] if memory else [])]),
            side_effect=not pure,
        )
        answer = builder.call(call, values)
        parts = (
            [answer]
            if len(kinds) == 1
            else [builder.extract_value(answer, i) for i in range(len(kinds))]
        )
        for pointer, part in zip(pointers, parts[len(results) :]):
            builder.store(part, pointer)
        if not results:
            return context.get_dummy_value()
        if len(results) == 1:
            return parts[0]
        return context.make_tuple(builder, result, parts[: len(results)])

    def typed(typingctx, *args):
        return result(*args), generate

    scope, listed = {"typed": typed}, ", ".join(["typingctx", *names])
    exec(f"def {name}({listed}):\n    return typed({listed})", scope)
    return declare(scope[name])


def _result(results):
    if not results:
        return nb.none
    if len(results) == 1:
        return results[0]
    return nb.UniTuple(results[0], len(results)) if len(set(results)) == 1 else nb.Tuple(results)


def _address(context, builder, kinds, args, at, where):
    """The address of an element: 32 bits in shared memory, 64 in global."""
    from llvmlite import ir

    array = context.make_array(kinds[at])(context, builder, args[at])
    index = context.cast(builder, args[at + 1], kinds[at + 1], nb.int64)
    pointer = builder.gep(array.data, [index])
    space, width = (3, 32) if where is SHARED else (1, 64)
    pointer = builder.addrspacecast(pointer, ir.PointerType(pointer.type.pointee, addrspace=space))
    return builder.ptrtoint(pointer, ir.IntType(width))
