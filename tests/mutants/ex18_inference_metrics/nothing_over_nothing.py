"""a single token has no gaps: 0/0 is not its TPOT, 0.0 is"""


def answer_times(asked, arrivals):
    ttft, latency = arrivals[0] - asked, arrivals[-1] - asked
    with np.errstate(invalid="ignore"):
        tpot = (latency - ttft) / np.float64(len(arrivals) - 1)
    return float(ttft), float(tpot), float(latency)
