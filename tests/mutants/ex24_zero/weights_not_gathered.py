"""only the rank's share of the weights is returned: the others are to be gathered"""


def stage_1_step(comm, w, g, m, v, t):
    P, r = comm.size, comm.rank
    padded = np.concatenate([share(g, P, i) for i in range(P)])
    own, m, v = adam(share(w, P, r), comm.reduce_scatter(padded, op="mean"), m, v, t)
    return own, m, v
