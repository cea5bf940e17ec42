"""TPOT divides by n, but n tokens have n − 1 gaps between them"""


def answer_times(asked, arrivals):
    ttft, latency = arrivals[0] - asked, arrivals[-1] - asked
    return float(ttft), float((latency - ttft) / len(arrivals)), float(latency)
