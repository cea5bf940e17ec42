"""what comes is not used; recv returns a new array, and does not fill `like`"""


def tree_broadcast(comm, x, root):
    P, place = comm.size, (comm.rank - root) % comm.size
    far = 1
    while far < P:
        if place < far and place + far < P:
            comm.send(x, (comm.rank + far) % P)
        elif far <= place < 2 * far:
            comm.recv(x, (comm.rank - far) % P)
        far *= 2
    return x
