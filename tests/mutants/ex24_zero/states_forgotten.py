"""the states come back as they were"""


def stage_1_step(comm, w, g, m, v, t):
    P, r = comm.size, comm.rank
    padded = np.concatenate([share(g, P, i) for i in range(P)])
    own, _, _ = adam(share(w, P, r), comm.reduce_scatter(padded, op="mean"), m, v, t)
    return comm.all_gather(own)[: len(w)], m, v
