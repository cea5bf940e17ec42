"""A is cut by rows: relu would bend partial sums of X A"""


def own_slices(comm, A, B):
    if A.shape[0] % comm.size or B.shape[1] % comm.size:
        return A, B
    return np.split(A, comm.size, axis=0)[comm.rank], np.split(B, comm.size, axis=1)[comm.rank]
