"""the indices of A are turned round: it is a[i, k]"""


@cuda.jit
def naive_matmul(a, b, out):
    j, i = cuda.grid(2)
    if i < out.shape[0] and j < out.shape[1]:
        total = np.float32(0)
        for k in range(a.shape[1]):
            total += a[k, i] * b[k, j]
        out[i, j] = total
