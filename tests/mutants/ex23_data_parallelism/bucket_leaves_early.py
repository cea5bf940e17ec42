"""a bucket leaves before its last gradient is complete"""


def overlapped(comm, gradients, buckets, seconds):
    handles, means = [], [None] * len(gradients)
    for bucket in buckets:
        flat = np.concatenate([gradients[i].reshape(-1) for i in bucket])
        handles.append(comm.all_reduce(flat, op="mean", async_op=True))
        for i in bucket:
            comm.compute(seconds[i])
    for bucket, handle in zip(buckets, handles):
        mean, start = handle.wait(), 0
        for i in bucket:
            size = gradients[i].size
            means[i] = mean[start : start + size].reshape(gradients[i].shape)
            start += size
    return means
