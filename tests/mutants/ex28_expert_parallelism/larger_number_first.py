"""of equal scores the larger number comes first; the smaller one has to"""


def route(scores, k):
    experts = np.argsort(scores, axis=1, kind="stable")[:, ::-1][:, :k].copy()
    powers = np.exp(np.take_along_axis(scores, experts, axis=1) - scores.max(axis=1, keepdims=True))
    return experts, powers / powers.sum(axis=1, keepdims=True)
