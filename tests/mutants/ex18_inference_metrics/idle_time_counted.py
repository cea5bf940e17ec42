"""time in which there was no request counts too"""


def throughput(requests):
    first = min(asked for asked, _ in requests)
    last = max(arrivals[-1] for _, arrivals in requests)
    return float(sum(len(arrivals) for _, arrivals in requests) / (last - first))
