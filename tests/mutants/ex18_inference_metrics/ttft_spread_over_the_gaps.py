"""TPOT counts the wait for the first token as a gap"""


def answer_times(asked, arrivals):
    latency = arrivals[-1] - asked
    return float(arrivals[0] - asked), float(latency / len(arrivals)), float(latency)
