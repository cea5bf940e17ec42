"""keys go round to the left; the ring goes from rank r to r + 1"""


def ring_attention(comm, q, k, v, places):
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    seen, theirs = partial_softmax(q, k, v, places <= places[:, None]), places
    for _ in range(comm.size - 1):
        k, v, theirs = (comm.send_recv(x, left, right) for x in (k, v, theirs))
        seen = merge(seen, partial_softmax(q, k, v, theirs <= places[:, None]))
    return seen[2] / seen[1]
