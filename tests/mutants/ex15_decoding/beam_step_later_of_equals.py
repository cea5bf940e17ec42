"""of equal scores the later place is chosen, not the lower row and token"""


def beam_step(scores, log_p, n_beams):
    total = scores[:, None] + log_p
    n = min(n_beams, np.isfinite(total).sum())
    best = np.argsort(total, axis=None, kind="stable")[::-1][:n]
    rows, tokens = np.divmod(best, total.shape[1])
    return rows, tokens, total[rows, tokens]
