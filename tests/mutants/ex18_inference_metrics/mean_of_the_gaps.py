"""the mean of the gaps is compared with the limit, not their percentile"""


def goodput(requests, ttft_limit, gap_limit, q):
    kept = 0
    for asked, arrivals in requests:
        quick = arrivals[0] - asked <= ttft_limit
        steady = len(arrivals) == 1 or np.mean(np.diff(arrivals)) <= gap_limit
        kept += bool(quick and steady)
    first = min(asked for asked, _ in requests)
    last = max(arrivals[-1] for _, arrivals in requests)
    return float(kept / (last - first))
