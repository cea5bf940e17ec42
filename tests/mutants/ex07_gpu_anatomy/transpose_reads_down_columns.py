"""a warp reads down a column of x: it belongs into shared memory first"""


@cuda.jit
def transpose(x, out):
    i = cuda.blockIdx.y * TILE + cuda.threadIdx.x
    for r in range(cuda.threadIdx.y, TILE, ROWS):
        j = cuda.blockIdx.x * TILE + r
        if i < x.shape[0] and j < x.shape[1]:
            out[j, i] = x[i, j]
