"""in one pass of the loop the threads of a warp are at elements that lie far apart"""


@cuda.jit
def scale(x, a, out):
    each = (x.size + cuda.gridsize(1) - 1) // cuda.gridsize(1)
    for i in range(each * cuda.grid(1), min(each * (cuda.grid(1) + 1), x.size)):
        out[i] = a * x[i]
