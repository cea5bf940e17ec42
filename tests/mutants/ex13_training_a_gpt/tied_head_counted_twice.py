"""the tied head is counted a second time"""


def parameter_count(config):
    l, D, V, L = (config[name] for name in ("l", "D", "V", "L"))
    layer = 12 * D**2 + (13 if config["bias"] else 2) * D
    return l * layer + (V + L) * D + (2 if config["bias"] else 1) * D + D * V
