"""the times count from 0 on the clock, not from when the request came"""


def answer_times(asked, arrivals):
    n = len(arrivals)
    ttft, latency = arrivals[0], arrivals[-1]
    tpot = (latency - ttft) / (n - 1) if n > 1 else 0.0
    return float(ttft), float(tpot), float(latency)
