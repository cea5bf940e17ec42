"""the largest size is taken, but 1 beside 0 gives 0"""


def broadcast_shape(*shapes):
    ndim = max(len(shape) for shape in shapes)
    padded = [(1,) * (ndim - len(shape)) + shape for shape in shapes]
    for axis in range(-1, -ndim - 1, -1):
        if len({shape[axis] for shape in padded} - {1}) > 1:
            return axis
    return tuple(max(sizes) for sizes in zip(*padded))
