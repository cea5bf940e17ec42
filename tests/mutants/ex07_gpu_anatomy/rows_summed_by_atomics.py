"""let shuffles bring the sum to lane 0, which writes it"""


@cuda.jit
def row_sums(x, out):
    row, lane = cuda.blockIdx.x, cuda.threadIdx.x
    if lane == 0:
        out[row] = 0
    cuda.syncthreads()
    for j in range(lane, x.shape[1], 32):
        cuda.atomic.add(out, row, x[row, j])
