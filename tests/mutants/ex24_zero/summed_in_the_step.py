"""gradients are added up, and not averaged"""


def stage_1_step(comm, w, g, m, v, t):
    P, r = comm.size, comm.rank
    padded = np.concatenate([share(g, P, i) for i in range(P)])
    own, m, v = adam(share(w, P, r), comm.reduce_scatter(padded), m, v, t)
    return comm.all_gather(own)[: len(w)], m, v
