"""the slope is not multiplied by the tangent that came in"""

_rule = rule


def rule(name, *pairs):
    if name == "sin":
        ((x, _),) = pairs
        return np.sin(x), np.cos(x)
    return _rule(name, *pairs)
