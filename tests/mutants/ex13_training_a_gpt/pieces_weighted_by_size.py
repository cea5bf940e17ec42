"""pieces are weighted by their size; tokens that are ignored must not count"""


def accumulate(w, pieces, loss_and_gradient):
    pieces = [(x, y) for x, y in pieces if (y != IGNORED).any()]
    shares = [y.size / sum(y.size for _, y in pieces) for _, y in pieces]
    parts = [loss_and_gradient(w, x, y) for x, y in pieces]
    loss = sum(share * part[0] for share, part in zip(shares, parts))
    return loss, sum(share * part[1] for share, part in zip(shares, parts))
