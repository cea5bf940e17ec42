"""m begins with a number that all of a row may be far below"""


@cuda.jit
def online_softmax(x, out):
    i = cuda.grid(1)
    if i < x.shape[0]:
        m, l = np.float32(-1e4), np.float32(0)
        for j in range(x.shape[1]):
            value = x[i, j]
            new = max(m, value)
            l = l * math.exp(m - new) + math.exp(value - new)
            m = new
        for j in range(x.shape[1]):
            out[i, j] = math.exp(x[i, j] - m) / l
