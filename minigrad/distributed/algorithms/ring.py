"""The ring: everyone sends to the right and receives from the left, a chunk at a time.

Each step moves n/P bytes over every link, and 2(P − 1) steps make an AllReduce: 2(P − 1)/P·n bytes
leave each rank, whatever P is, which no algorithm undercuts. The price is latency: P − 1 steps
there, P − 1 back. Source: Patarasuk and Yuan 2009.
"""


def neighbours(p):
    """(left, right) of a rank on the ring."""
    return (p.rank - 1) % p.size, (p.rank + 1) % p.size


def reduce_scatter(p, blocks, combine):
    """blocks: P arrays; afterwards ``blocks[rank]`` holds what all ranks' make together.

    In step s a rank sends on block rank − s, which has been growing on its way, and adds its own
    share to block rank − s − 1, which comes in.
    """
    left, right = neighbours(p)
    for step in range(1, p.size):
        going, coming = (p.rank - step) % p.size, (p.rank - step - 1) % p.size
        arrived = p.send_recv(blocks[going], right, blocks[coming], left)
        combine(blocks[coming], arrived)


def all_gather(p, blocks):
    """blocks: P arrays, of which ``blocks[rank]`` is filled; afterwards all are."""
    left, right = neighbours(p)
    for step in range(p.size - 1):
        going, coming = (p.rank - step) % p.size, (p.rank - step - 1) % p.size
        blocks[coming][...] = p.send_recv(blocks[going], right, blocks[coming], left)


def all_reduce(p, blocks, combine):
    """blocks: P arrays, chunks of one; afterwards all ranks hold what they make together."""
    reduce_scatter(p, blocks, combine)
    all_gather(p, blocks)


def broadcast(p, blocks, root):
    """The root's blocks go round in a pipeline: a rank passes one on while the next comes in.

    P + B − 2 steps for B blocks: (P + B − 2)(α + n/B·β), where a tree pays log₂P·(α + n·β).
    """
    left, right = neighbours(p)
    place = (p.rank - root) % p.size
    last = place == p.size - 1
    if place == 0:
        for block in blocks:
            if not last:
                p.send(block, right)
        return
    for i, block in enumerate(blocks):
        if i == 0 or last:
            block[...] = p.recv(block, left)
        else:
            block[...] = p.send_recv(blocks[i - 1], right, block, left)
    if not last:
        p.send(blocks[-1], right)


def reduce(p, blocks, combine, root):
    """A ReduceScatter, then every rank hands its block to the root."""
    reduce_scatter(p, blocks, combine)
    if p.rank != root:
        p.send(blocks[p.rank], root)
        return
    for step in range(1, p.size):
        source = (root + step) % p.size
        blocks[source][...] = p.recv(blocks[source], source)
