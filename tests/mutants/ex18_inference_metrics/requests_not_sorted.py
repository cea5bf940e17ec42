"""the requests may come in any order: sort them by when they were asked"""


def throughput(requests):
    busy, until = 0.0, -np.inf
    for asked, arrivals in requests:
        busy += max(arrivals[-1] - max(asked, until), 0.0)
        until = max(until, arrivals[-1])
    return float(sum(len(arrivals) for _, arrivals in requests) / busy)
