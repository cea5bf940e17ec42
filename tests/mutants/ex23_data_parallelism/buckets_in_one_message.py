"""several buckets are sent as one"""


def synchronise(comm, gradients, buckets):
    flat = np.concatenate([gradients[i].reshape(-1) for bucket in buckets for i in bucket])
    mean, start = comm.all_reduce(flat, op="mean"), 0
    means = [None] * len(gradients)
    for i in [i for bucket in buckets for i in bucket]:
        size = gradients[i].size
        means[i] = mean[start : start + size].reshape(gradients[i].shape)
        start += size
    return means
