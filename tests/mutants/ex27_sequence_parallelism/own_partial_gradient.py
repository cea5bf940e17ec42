"""dN_r is a partial sum: what other ranks have of this rank's positions is missing"""


def norm_gradients(comm, x_r, gain, dN_r):
    dN = dN_r[comm.rank * len(x_r) : (comm.rank + 1) * len(x_r)]
    rms = np.sqrt((x_r**2).mean(axis=1, keepdims=True) + EPS)
    n, dn = x_r / rms, gain * dN
    dx_r = (dn - n * (dn * n).mean(axis=1, keepdims=True)) / rms
    return dx_r, comm.all_reduce((dN * n).sum(axis=0))
