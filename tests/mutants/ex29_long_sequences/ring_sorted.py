"""the result is sorted by places; its rows are in the order of q"""

_ring_in_order = ring_attention


def ring_attention(comm, q, k, v, places):
    return _ring_in_order(comm, q, k, v, places)[np.argsort(places)]
