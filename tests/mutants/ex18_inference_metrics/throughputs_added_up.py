"""the requests' own throughputs are added up, as if all of them ran all the time"""


def throughput(requests):
    return float(sum(len(arrivals) / (arrivals[-1] - asked) for asked, arrivals in requests))
