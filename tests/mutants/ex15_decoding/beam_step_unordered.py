"""the chosen ones are right, but not in order: the highest score comes first"""


def beam_step(scores, log_p, n_beams):
    total = scores[:, None] + log_p
    n = min(n_beams, np.isfinite(total).sum())
    best = np.argsort(-total, axis=None, kind="stable")[:n][::-1]
    rows, tokens = np.divmod(best, total.shape[1])
    return rows, tokens, total[rows, tokens]
