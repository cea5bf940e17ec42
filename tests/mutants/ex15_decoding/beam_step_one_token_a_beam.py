"""each beam goes on by its own best token, instead of the best of all continuations"""


def beam_step(scores, log_p, n_beams):
    tokens = log_p.argmax(axis=1)
    new = scores + log_p.max(axis=1)
    rows = np.argsort(-new, kind="stable")[:n_beams]
    return rows, tokens[rows], new[rows]
