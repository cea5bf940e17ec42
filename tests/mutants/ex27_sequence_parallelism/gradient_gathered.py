"""the transpose of g's AllGather is a ReduceScatter, not an AllGather"""


def norm_gradients(comm, x_r, gain, dN_r):
    dN = comm.all_gather(dN_r)
    rms = np.sqrt((x_r**2).mean(axis=1, keepdims=True) + EPS)
    n, dn = x_r / rms, gain * dN
    dx_r = (dn - n * (dn * n).mean(axis=1, keepdims=True)) / rms
    return dx_r, comm.all_reduce((dN * n).sum(axis=0))
