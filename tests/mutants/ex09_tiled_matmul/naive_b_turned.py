"""the indices of B are turned round: it is b[k, j]"""


@cuda.jit
def naive_matmul(a, b, out):
    j, i = cuda.grid(2)
    if i < out.shape[0] and j < out.shape[1]:
        total = np.float32(0)
        for k in range(a.shape[1]):
            total += a[i, k] * b[j, k]
        out[i, j] = total
