"""in one pass of the loop the threads of a warp are at elements that lie far apart"""


@cuda.jit
def add(x, y, out):
    i = cuda.threadIdx.x * cuda.gridDim.x + cuda.blockIdx.x
    if i < out.size:
        out[i] = x[i] + y[i]
