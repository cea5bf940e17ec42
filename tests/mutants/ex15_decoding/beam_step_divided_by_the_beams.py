"""a place in the flat table is split into row and token by b; a row has V places"""


def beam_step(scores, log_p, n_beams):
    total = scores[:, None] + log_p
    n = min(n_beams, np.isfinite(total).sum())
    best = np.argsort(-total, axis=None, kind="stable")[:n]
    tokens, rows = np.divmod(best, len(scores))
    return rows, tokens, total.ravel()[best]
