"""a request that ends inside another one adds nothing, but not less than nothing"""


def throughput(requests):
    busy, until = 0.0, -np.inf
    for asked, arrivals in sorted(requests, key=lambda request: request[0]):
        busy += arrivals[-1] - max(asked, until)
        until = max(until, arrivals[-1])
    return float(sum(len(arrivals) for _, arrivals in requests) / busy)
