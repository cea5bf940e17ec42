"""f may run only once"""


def jvp(f, xs, us):
    total = None
    for i in range(len(xs)):
        level = next(levels)
        moving = [Dual(x, us[i], level) if j == i else x for j, x in enumerate(xs)]
        pairs = [seen_from(level, y) for y in f(*moving)]
        if total is None:
            values, total = zip(*pairs)
        else:
            total = tuple(old + new for old, (_, new) in zip(total, pairs))
    return values, total
