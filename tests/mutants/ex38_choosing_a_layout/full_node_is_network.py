"""a group of as many in a row as a node has is in a node, a larger one is not"""


def ring_half(size, nbytes, devices_in_a_row, cluster):
    alpha, bandwidth = cluster["alpha"], cluster["bandwidth"]
    if devices_in_a_row >= cluster["per_node"]:
        alpha, bandwidth = cluster["network_alpha"], cluster["network_bandwidth"]
    return float((size - 1) * (alpha + nbytes / size / bandwidth))
