"""time in which there is no request counts too: goodput is over all the seconds"""


def goodput(requests, ttft_limit, gap_limit, q):
    kept = 0
    for asked, arrivals in requests:
        steady = len(arrivals) == 1 or percentile(np.diff(arrivals), q) <= gap_limit
        kept += bool(arrivals[0] - asked <= ttft_limit and steady)
    tokens = sum(len(arrivals) for _, arrivals in requests)
    return float(kept / (tokens / throughput(requests)))
