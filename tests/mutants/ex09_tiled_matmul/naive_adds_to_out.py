"""sum in a variable"""


@cuda.jit
def naive_matmul(a, b, out):
    j, i = cuda.grid(2)
    if i < out.shape[0] and j < out.shape[1]:
        out[i, j] = 0
        for k in range(a.shape[1]):
            out[i, j] += a[i, k] * b[k, j]
