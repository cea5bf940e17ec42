"""time is counted only from and to the answers that keep the promise"""


def goodput(requests, ttft_limit, gap_limit, q):
    kept = []
    for asked, arrivals in requests:
        steady = len(arrivals) == 1 or percentile(np.diff(arrivals), q) <= gap_limit
        if arrivals[0] - asked <= ttft_limit and steady:
            kept.append((asked, arrivals))
    times = kept or requests
    first = min(asked for asked, _ in times)
    return float(len(kept) / (max(arrivals[-1] for _, arrivals in times) - first))
