"""pieces are cut in another order than that in which they were put together"""


def synchronise(comm, gradients, buckets):
    means = [None] * len(gradients)
    for bucket in buckets:
        flat = np.concatenate([gradients[i].reshape(-1) for i in bucket])
        mean, start = comm.all_reduce(flat, op="mean"), 0
        for i in sorted(bucket):
            size = gradients[i].size
            means[i] = mean[start : start + size].reshape(gradients[i].shape)
            start += size
    return means
