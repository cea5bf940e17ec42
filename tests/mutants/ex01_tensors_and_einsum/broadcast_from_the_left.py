"""the shapes are aligned at the left, not at the right"""


def broadcast_shape(*shapes):
    ndim = max(len(shape) for shape in shapes)
    padded = [shape + (1,) * (ndim - len(shape)) for shape in shapes]
    result = ()
    for axis in range(-1, -ndim - 1, -1):
        sizes = {shape[axis] for shape in padded} - {1}
        if len(sizes) > 1:
            return axis
        result = (*(sizes or {1}), *result)
    return result
