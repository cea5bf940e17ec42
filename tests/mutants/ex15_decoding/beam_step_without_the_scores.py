"""the scores of the beams so far are not added"""


def beam_step(scores, log_p, n_beams):
    best = np.argsort(-log_p, axis=None, kind="stable")[: min(n_beams, np.isfinite(log_p).sum())]
    rows, tokens = np.divmod(best, log_p.shape[1])
    return rows, tokens, log_p[rows, tokens]
