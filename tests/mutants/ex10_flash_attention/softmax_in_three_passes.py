"""the first pass reads a number twice, or there are three: keep it in a variable"""


@cuda.jit
def online_softmax(x, out):
    i = cuda.grid(1)
    if i < x.shape[0]:
        m, l = np.float32(-math.inf), np.float32(0)
        for j in range(x.shape[1]):
            m = max(m, x[i, j])
        for j in range(x.shape[1]):
            l += math.exp(x[i, j] - m)
        for j in range(x.shape[1]):
            out[i, j] = math.exp(x[i, j] - m) / l
