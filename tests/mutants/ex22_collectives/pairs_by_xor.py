"""where P is no power of two, r ^ k leaves pairs out"""


def all_to_all(comm, x):
    result = x.copy()
    for k in range(1, comm.size):
        other = comm.rank ^ k
        if other < comm.size:
            result[other] = comm.send_recv(x[other], other, other)
    return result
