"""two threads write the same element: an index is wrong, or lacks a part"""


@cuda.jit
def scale(x, a, out):
    for i in range(cuda.grid(1), x.size, cuda.blockDim.x):
        out[i] = a * x[i]
