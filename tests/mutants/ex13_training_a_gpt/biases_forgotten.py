"""the biases are not counted"""


def parameter_count(config):
    l, D, V, L = (config[name] for name in ("l", "D", "V", "L"))
    return l * (12 * D**2 + 2 * D) + (V + L) * D + D + (0 if config["tied"] else D * V)
