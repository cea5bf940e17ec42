"""the axis is counted from the left"""


def broadcast_shape(*shapes):
    ndim = max(len(shape) for shape in shapes)
    padded = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    result = ()
    for axis in reversed(range(ndim)):
        sizes = {shape[axis] for shape in padded} - {1}
        if len(sizes) > 1:
            return axis
        result = (*(sizes or {1}), *result)
    return result
