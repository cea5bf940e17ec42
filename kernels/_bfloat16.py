"""bfloat16 in kernels: a float32 without its lower half. Kept so, computed in float32.

Numba-CUDA's own bfloat16 calls C++ that a compiler without a GPU's toolkit cannot link; this one is
three instructions.
"""

from importlib import import_module

from llvmlite import ir
from numba.cuda import types
from numba.cuda.extending import lower_cast, models, register_model
from numba.cuda.typeconv.rules import default_type_manager


class Bfloat16(types.Number):
    """The type of a bfloat16 in a kernel."""

    def __init__(self):
        super().__init__(name="bf16")

    bitwidth = 16


bfloat16 = Bfloat16()


@register_model(Bfloat16)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, type_):
        super().__init__(manager, type_, ir.IntType(16))


@lower_cast(bfloat16, types.Float)
def _widened(context, builder, source, target, value):
    bits = builder.shl(builder.zext(value, ir.IntType(32)), ir.Constant(ir.IntType(32), 16))
    number = builder.bitcast(bits, ir.FloatType())
    return context.cast(builder, number, types.float32, target)


@lower_cast(types.Float, bfloat16)
@lower_cast(types.Integer, bfloat16)
def _rounded(context, builder, source, target, value):
    number = context.cast(builder, value, source, types.float32)
    kind = ir.FunctionType(ir.IntType(16), [ir.FloatType()])
    return builder.call(ir.InlineAsm(kind, "cvt.rn.bf16.f32 $0, $1;", "=h,f"), [number])


default_type_manager.set_promote(bfloat16, types.float32)
for _other in (
    types.float16,
    types.float32,
    types.float64,
    types.int32,
    types.int64,
    types.uint32,
    types.uint64,
):
    default_type_manager.set_unsafe_convert(_other, bfloat16)
# Shared and local arrays may hold what is in number_domain; npydecl takes NumPy's part of it first.
import_module("numba.cuda.typing.npydecl")
types.number_domain = types.number_domain | {bfloat16}
