"""in one pass of the loop the threads of a warp are at elements that lie far apart"""


@cuda.jit
def row_sums(x, out):
    row, lane = cuda.blockIdx.x, cuda.threadIdx.x
    total = np.float32(0)
    each = (x.shape[1] + 31) // 32
    for j in range(each * lane, min(each * (lane + 1), x.shape[1])):
        total += x[row, j]
    step = 16
    while step > 0:
        total += cuda.shfl_down_sync(0xFFFFFFFF, total, step)
        step //= 2
    if lane == 0:
        out[row] = total
