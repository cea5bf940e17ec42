"""counts are of all that queued, not of those that found a place"""

_queue_kept = queue


def queue(experts, E, capacity):
    token, choice, _ = _queue_kept(experts, E, capacity)
    return token, choice, np.bincount(experts.reshape(-1), minlength=E)
