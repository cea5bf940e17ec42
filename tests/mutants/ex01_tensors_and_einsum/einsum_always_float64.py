"""the result is float64 whatever the operands are"""

_einsum = einsum


def einsum(subscripts, *operands):
    return _einsum(subscripts, *(x.astype(float) for x in operands))
