"""time in which two requests are served counts twice"""


def throughput(requests):
    busy = sum(arrivals[-1] - asked for asked, arrivals in requests)
    return float(sum(len(arrivals) for _, arrivals in requests) / busy)
