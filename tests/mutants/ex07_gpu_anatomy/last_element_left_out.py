"""the last element is left out"""


@cuda.jit
def add(x, y, out):
    i = cuda.grid(1)
    if i < out.size - 1:
        out[i] = x[i] + y[i]
