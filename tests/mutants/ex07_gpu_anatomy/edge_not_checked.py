"""a thread that has no element of its own is not kept from memory"""


@cuda.jit
def add(x, y, out):
    i = cuda.grid(1)
    out[i] = x[i] + y[i]
