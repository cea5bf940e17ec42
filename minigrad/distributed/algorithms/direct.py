"""Everyone speaks to everyone, with no thought: P − 1 messages where the data are wanted.

The simplest to write and to check the others against. A root that sends or receives P − 1 messages
is the bottleneck: its port takes one at a time.
"""


def _others(p):
    """The other ranks, from the next one on, so that not all begin with rank 0."""
    return [(p.rank + step) % p.size for step in range(1, p.size)]


def broadcast(p, blocks, root):
    """The root sends all to each."""
    if p.rank == root:
        for other in _others(p):
            for block in blocks:
                p.send(block, other)
    else:
        for block in blocks:
            block[...] = p.recv(block, root)


def reduce(p, blocks, combine, root):
    """Each sends all to the root, which combines them in the order of the ranks after it."""
    if p.rank != root:
        for block in blocks:
            p.send(block, root)
        return
    for other in _others(p):
        for block in blocks:
            combine(block, p.recv(block, other))


def scatter(p, blocks, root):
    """The root sends each its block."""
    if p.rank == root:
        for other in _others(p):
            p.send(blocks[other], other)
    else:
        blocks[p.rank][...] = p.recv(blocks[p.rank], root)


def gather(p, blocks, root):
    """Each sends its block to the root."""
    if p.rank != root:
        p.send(blocks[p.rank], root)
        return
    for other in _others(p):
        blocks[other][...] = p.recv(blocks[other], other)


def all_gather(p, blocks):
    """Each sends its block to each: in step s to the rank s further on."""
    mine = blocks[p.rank]
    for step in range(1, p.size):
        to, source = (p.rank + step) % p.size, (p.rank - step) % p.size
        blocks[source][...] = p.send_recv(mine, to, blocks[source], source)


def reduce_scatter(p, blocks, combine):
    """Each sends each its share."""
    for step in range(1, p.size):
        to, source = (p.rank + step) % p.size, (p.rank - step) % p.size
        combine(blocks[p.rank], p.send_recv(blocks[to], to, blocks[p.rank], source))


def all_reduce(p, blocks, combine):
    """All to rank 0, and back from it: 2(P − 1) whole messages through one port."""
    reduce(p, blocks, combine, 0)
    broadcast(p, blocks, 0)


def all_to_all(p, out, into):
    """out: P arrays, ``out[r]`` for rank r; into: P arrays, ``into[r]`` from rank r. They may
    differ in size."""
    into[p.rank][...] = out[p.rank]
    for step in range(1, p.size):
        to, source = (p.rank + step) % p.size, (p.rank - step) % p.size
        into[source][...] = p.send_recv(out[to], to, into[source], source)
