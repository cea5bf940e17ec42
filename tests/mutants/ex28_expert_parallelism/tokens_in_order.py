"""an expert's rows are in the order of tokens; all first choices go before second ones"""

_queue_in_order = queue


def queue(experts, E, capacity):
    token, choice, counts = _queue_in_order(experts, E, capacity)
    order = np.lexsort((token, np.repeat(np.arange(E), counts)))
    return token[order], choice[order], counts
