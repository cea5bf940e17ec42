"""the chosen experts are ordered by number; the largest score comes first"""


def route(scores, k):
    experts = np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :k], axis=1)
    best = np.take_along_axis(scores, experts, axis=1)
    powers = np.exp(best - best.max(axis=1, keepdims=True))
    return experts, powers / powers.sum(axis=1, keepdims=True)
