"""the last norm is not counted"""


def parameter_count(config):
    l, D, V, L = (config[name] for name in ("l", "D", "V", "L"))
    layer = 12 * D**2 + (13 if config["bias"] else 2) * D
    return l * layer + (V + L) * D + (0 if config["tied"] else D * V)
