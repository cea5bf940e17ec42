"""the softmax is along columns, not rows"""


@cuda.jit
def online_softmax(x, out):
    i = cuda.grid(1)
    if i < x.shape[1]:
        m, l = np.float32(-math.inf), np.float32(0)
        for j in range(x.shape[0]):
            new = max(m, x[j, i])
            l = l * math.exp(m - new) + math.exp(x[j, i] - new)
            m = new
        for j in range(x.shape[0]):
            out[j, i] = math.exp(x[j, i] - m) / l
