"""shapes are compared two at a time, and an earlier pair hides a misfit further right"""


def broadcast_shape(*shapes):
    result = ()
    for shape in shapes:
        ndim = max(len(result), len(shape))
        a = (1,) * (ndim - len(result)) + result
        b = (1,) * (ndim - len(shape)) + shape
        for axis in range(-1, -ndim - 1, -1):
            if a[axis] != b[axis] and 1 not in (a[axis], b[axis]):
                return axis
        result = tuple(m if n == 1 else n for n, m in zip(a, b))
    return result
