"""threadIdx.x goes along the rows of C, and neighbours in x are far apart in memory"""


@cuda.jit
def naive_matmul(a, b, out):
    i, j = cuda.grid(2)
    if i < out.shape[0] and j < out.shape[1]:
        total = np.float32(0)
        for k in range(a.shape[1]):
            total += a[i, k] * b[k, j]
        out[i, j] = total
