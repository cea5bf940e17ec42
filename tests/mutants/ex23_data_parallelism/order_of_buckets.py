"""gradients stand in the order of the buckets, not in their own"""


def synchronise(comm, gradients, buckets):
    means = []
    for bucket in buckets:
        flat = np.concatenate([gradients[i].reshape(-1) for i in bucket])
        mean, start = comm.all_reduce(flat, op="mean"), 0
        for i in bucket:
            size = gradients[i].size
            means.append(mean[start : start + size].reshape(gradients[i].shape))
            start += size
    return means
