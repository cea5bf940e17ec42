"""capacity is for each rank and expert; it is taken P times"""

_layer_of_a_rank = moe_layer


def moe_layer(comm, x, router, weights, k, capacity):
    return _layer_of_a_rank(comm, x, router, weights, k, capacity * comm.size)
