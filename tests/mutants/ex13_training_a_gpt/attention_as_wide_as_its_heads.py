"""the width of attention is taken as n_h · H, not as D"""


def parameter_count(config):
    l, D, V, L, n_h, H = (config[name] for name in ("l", "D", "V", "L", "n_h", "H"))
    A = n_h * H
    layer = 4 * D * A + 8 * D**2 + 2 * D
    ends = V * D + L * D + D
    if config["bias"]:
        layer += 3 * A + D + 5 * D + 2 * D
        ends += D
    return l * layer + ends + (0 if config["tied"] else D * V)
