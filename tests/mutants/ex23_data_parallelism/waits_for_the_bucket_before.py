"""the rank waits for a bucket before it sends the next one: wait when all work is done"""


def overlapped(comm, gradients, buckets, seconds):
    results, handle = [], None
    for bucket in buckets:
        for i in bucket:
            comm.compute(seconds[i])
        if handle:
            results.append(handle.wait())
        flat = np.concatenate([gradients[i].reshape(-1) for i in bucket])
        handle = comm.all_reduce(flat, op="mean", async_op=True)
    results.append(handle.wait())
    means = [None] * len(gradients)
    for bucket, mean in zip(buckets, results):
        start = 0
        for i in bucket:
            size = gradients[i].size
            means[i] = mean[start : start + size].reshape(gradients[i].shape)
            start += size
    return means
