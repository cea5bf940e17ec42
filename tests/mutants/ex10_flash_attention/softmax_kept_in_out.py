"""exp(x − m) is kept in out for another pass"""


@cuda.jit
def online_softmax(x, out):
    i = cuda.grid(1)
    if i < x.shape[0]:
        m, l = np.float32(-math.inf), np.float32(0)
        for j in range(x.shape[1]):
            value = x[i, j]
            m = max(m, value)
        for j in range(x.shape[1]):
            out[i, j] = math.exp(x[i, j] - m)
            l += out[i, j]
        for j in range(x.shape[1]):
            out[i, j] /= l
