"""keys travel and values do not"""


def ring_attention(comm, q, k, v, places):
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    seen, theirs = partial_softmax(q, k, v, places <= places[:, None]), places
    for _ in range(comm.size - 1):
        k, theirs = comm.send_recv(k, right, left), comm.send_recv(theirs, right, left)
        seen = merge(seen, partial_softmax(q, k, v, theirs <= places[:, None]))
    return seen[2] / seen[1]
