"""words are counted from the rank's first one, not from word 0"""


def likeliest(comm, z_r):
    best = int(z_r.argmax())
    values = comm.all_gather(z_r[best : best + 1])
    words = comm.all_gather(np.array([best]))
    return int(words[values.argmax()])
