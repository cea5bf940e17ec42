"""two threads write the same element: an index is wrong, or lacks a part"""


@cuda.jit
def add(x, y, out):
    i = cuda.threadIdx.x
    if i < out.size:
        out[i] = x[i] + y[i]
