"""the gradient is weighted by tokens, but the loss is a plain mean of the pieces"""


def accumulate(w, pieces, loss_and_gradient):
    pieces = [(x, y) for x, y in pieces if (y != IGNORED).any()]
    counts = [(y != IGNORED).sum() for _, y in pieces]
    parts = [loss_and_gradient(w, x, y) for x, y in pieces]
    gradient = sum(count * part[1] for count, part in zip(counts, parts)) / sum(counts)
    return sum(part[0] for part in parts) / len(parts), gradient
