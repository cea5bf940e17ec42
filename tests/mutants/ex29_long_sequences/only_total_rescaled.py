"""total is brought to the new top, and mixed is not"""

_merge = merge


def merge(a, b):
    top, total, _ = _merge(a, b)
    return top, total, a[2] + b[2]
