"""shfl_down_sync stands inside an if, or in a loop, that not all lanes of the warp go through"""


@cuda.jit
def row_sums(x, out):
    row, lane = cuda.blockIdx.x, cuda.threadIdx.x
    total = np.float32(0)
    for j in range(lane, x.shape[1], 32):
        total += x[row, j]
    step = 16
    while step > 0:
        if lane < step:
            total += cuda.shfl_down_sync(0xFFFFFFFF, total, step)
        step //= 2
    if lane == 0:
        out[row] = total
