"""this is the share of all answers, not their number a second"""


def goodput(requests, ttft_limit, gap_limit, q):
    kept = 0
    for asked, arrivals in requests:
        quick = arrivals[0] - asked <= ttft_limit
        steady = len(arrivals) == 1 or percentile(np.diff(arrivals), q) <= gap_limit
        kept += bool(quick and steady)
    return float(kept / len(requests))
