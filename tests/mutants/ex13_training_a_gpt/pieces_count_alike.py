"""every piece counts the same, so the tokens of short pieces count for more"""


def accumulate(w, pieces, loss_and_gradient):
    parts = [loss_and_gradient(w, x, y) for x, y in pieces if (y != IGNORED).any()]
    loss = sum(part[0] for part in parts) / len(parts)
    return loss, sum(part[1] for part in parts) / len(parts)
