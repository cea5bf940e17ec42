"""the last to ask need not be the last to be done"""


def goodput(requests, ttft_limit, gap_limit, q):
    requests = sorted(requests, key=lambda request: request[0])
    kept = 0
    for asked, arrivals in requests:
        steady = len(arrivals) == 1 or percentile(np.diff(arrivals), q) <= gap_limit
        kept += bool(arrivals[0] - asked <= ttft_limit and steady)
    return float(kept / (requests[-1][1][-1] - requests[0][0]))
