"""latency is TTFT + TPOT · n, which counts the first token twice"""


def answer_times(asked, arrivals):
    n = len(arrivals)
    ttft = arrivals[0] - asked
    tpot = (arrivals[-1] - arrivals[0]) / max(n - 1, 1)
    return float(ttft), float(tpot), float(ttft + tpot * n)
