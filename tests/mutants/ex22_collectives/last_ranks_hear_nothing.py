"""where P is no power of two, the last ranks hear nothing"""


def tree_broadcast(comm, x, root):
    P, place = comm.size, (comm.rank - root) % comm.size
    far = 1
    while 2 * far <= P:
        if place < far:
            comm.send(x, (comm.rank + far) % P)
        elif place < 2 * far:
            x = comm.recv(x, (comm.rank - far) % P)
        far *= 2
    return x
