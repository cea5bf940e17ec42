"""an answer of one token counts only if its TTFT is within the limit"""


def goodput(requests, ttft_limit, gap_limit, q):
    kept = 0
    for asked, arrivals in requests:
        if len(arrivals) == 1:
            kept += 1
            continue
        quick = arrivals[0] - asked <= ttft_limit
        kept += bool(quick and percentile(np.diff(arrivals), q) <= gap_limit)
    first = min(asked for asked, _ in requests)
    last = max(arrivals[-1] for _, arrivals in requests)
    return float(kept / (last - first))
