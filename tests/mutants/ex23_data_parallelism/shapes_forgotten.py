"""gradients come back flat: each has a shape"""


def synchronise(comm, gradients, buckets):
    means = [None] * len(gradients)
    for bucket in buckets:
        flat = np.concatenate([gradients[i].reshape(-1) for i in bucket])
        mean, start = comm.all_reduce(flat, op="mean"), 0
        for i in bucket:
            size = gradients[i].size
            means[i] = mean[start : start + size]
            start += size
    return means
