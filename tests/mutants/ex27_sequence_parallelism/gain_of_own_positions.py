"""the gradient by the gain is of this rank's positions alone: add up the ranks'"""


def norm_gradients(comm, x_r, gain, dN_r):
    dN = comm.reduce_scatter(dN_r)
    rms = np.sqrt((x_r**2).mean(axis=1, keepdims=True) + EPS)
    n, dn = x_r / rms, gain * dN
    return (dn - n * (dn * n).mean(axis=1, keepdims=True)) / rms, (dN * n).sum(axis=0)
