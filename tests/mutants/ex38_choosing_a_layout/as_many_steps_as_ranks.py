"""there are size − 1 steps"""


def ring_half(size, nbytes, devices_in_a_row, cluster):
    alpha, bandwidth = cluster["alpha"], cluster["bandwidth"]
    if devices_in_a_row > cluster["per_node"]:
        alpha, bandwidth = cluster["network_alpha"], cluster["network_bandwidth"]
    return float(size * (alpha + nbytes / size / bandwidth))
