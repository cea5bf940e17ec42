"""continuations with a score of −∞ are chosen"""


def beam_step(scores, log_p, n_beams):
    total = scores[:, None] + log_p
    best = np.argsort(-total, axis=None, kind="stable")[:n_beams]
    rows, tokens = np.divmod(best, total.shape[1])
    return rows, tokens, total[rows, tokens]
