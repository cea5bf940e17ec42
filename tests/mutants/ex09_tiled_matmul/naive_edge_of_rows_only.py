"""a thread that has no element of its own is not kept from memory"""


@cuda.jit
def naive_matmul(a, b, out):
    j, i = cuda.grid(2)
    if i < out.shape[0]:
        total = np.float32(0)
        for k in range(a.shape[1]):
            total += a[i, k] * b[k, j]
        out[i, j] = total
