"""a request inside another one moves the end of the busy time back"""


def throughput(requests):
    busy, until = 0.0, -np.inf
    for asked, arrivals in sorted(requests, key=lambda request: request[0]):
        busy += max(arrivals[-1] - max(asked, until), 0.0)
        until = arrivals[-1]
    return float(sum(len(arrivals) for _, arrivals in requests) / busy)
