"""the rank waits for a bucket before it works on, or sends only when all work is done"""


def overlapped(comm, gradients, buckets, seconds):
    means = [None] * len(gradients)
    for bucket in buckets:
        for i in bucket:
            comm.compute(seconds[i])
        for i, mean in zip(bucket, _reduced(comm, [gradients[i] for i in bucket])):
            means[i] = mean
    return means


def _reduced(comm, gradients):
    return synchronise(comm, gradients, [list(range(len(gradients)))])
