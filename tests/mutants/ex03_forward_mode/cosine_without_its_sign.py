"""the slope of the cosine is −sin x, not sin x"""

_rule = rule


def rule(name, *pairs):
    if name == "cos":
        ((x, x_dot),) = pairs
        return np.cos(x), np.sin(x) * x_dot
    return _rule(name, *pairs)
