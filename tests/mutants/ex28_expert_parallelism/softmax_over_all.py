"""the softmax is taken over all experts, not over the chosen ones"""


def route(scores, k):
    experts = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    gates = powers / powers.sum(axis=1, keepdims=True)
    return experts, np.take_along_axis(gates, experts, axis=1)
