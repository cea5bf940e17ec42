"""How an array is cut into pieces."""


def chunks(array, parts):
    """``parts`` views of a flat array that differ by at most one element: view i reaches from
    ⌊i·n/parts⌋ to ⌊(i + 1)·n/parts⌋."""
    n = array.size
    return [array[i * n // parts : (i + 1) * n // parts] for i in range(parts)]


def spread(whole, blocks):
    """Write an array into blocks, one after the other."""
    start = 0
    for block in blocks:
        block[...] = whole[start : start + len(block)]
        start += len(block)
