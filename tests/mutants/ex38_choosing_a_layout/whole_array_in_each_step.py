"""a step sends 1/size of the bytes"""


def ring_half(size, nbytes, devices_in_a_row, cluster):
    alpha, bandwidth = cluster["alpha"], cluster["bandwidth"]
    if devices_in_a_row > cluster["per_node"]:
        alpha, bandwidth = cluster["network_alpha"], cluster["network_bandwidth"]
    return float((size - 1) * (alpha + nbytes / bandwidth))
