"""a few threads do the work of all"""


@cuda.jit
def scale(x, a, out):
    if cuda.blockIdx.x == 0:
        for i in range(cuda.threadIdx.x, x.size, cuda.blockDim.x):
            out[i] = a * x[i]
