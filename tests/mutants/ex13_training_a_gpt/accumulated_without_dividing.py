"""the pieces are added up without dividing"""


def accumulate(w, pieces, loss_and_gradient):
    parts = [loss_and_gradient(w, x, y) for x, y in pieces if (y != IGNORED).any()]
    return sum(part[0] for part in parts), sum(part[1] for part in parts)
