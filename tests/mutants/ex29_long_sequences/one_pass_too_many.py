"""keys are passed on once too often, or more than k, v and places goes round"""


def ring_attention(comm, q, k, v, places):
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    seen, theirs = None, places
    for _ in range(comm.size):
        part = partial_softmax(q, k, v, theirs <= places[:, None])
        seen = part if seen is None else merge(seen, part)
        k, v, theirs = (comm.send_recv(x, right, left) for x in (k, v, theirs))
    return seen[2] / seen[1]
