"""more is exchanged than q, k, v and the result, once each"""

_ulysses = ulysses_attention


def ulysses_attention(comm, q, k, v):
    comm.all_to_all(q, 0, 1)
    return _ulysses(comm, q, k, v)
