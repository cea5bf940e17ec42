"""an expert takes one row more than its capacity"""

_queue = queue


def queue(experts, E, capacity):
    return _queue(experts, E, capacity + 1)
