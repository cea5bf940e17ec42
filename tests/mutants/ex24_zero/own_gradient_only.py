"""a rank's share is updated with its own gradient, without the others'"""


def stage_1_step(comm, w, g, m, v, t):
    P, r = comm.size, comm.rank
    own, m, v = adam(share(w, P, r), share(g, P, r), m, v, t)
    return comm.all_gather(own)[: len(w)], m, v
