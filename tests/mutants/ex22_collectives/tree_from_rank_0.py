"""the tree begins at rank 0, whoever the root is"""


def tree_broadcast(comm, x, root):
    P, r, far = comm.size, comm.rank, 1
    while far < P:
        if r < far and r + far < P:
            comm.send(x, r + far)
        elif far <= r < 2 * far:
            x = comm.recv(x, r - far)
        far *= 2
    return x
