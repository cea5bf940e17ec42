"""in warps there is a place that nobody wrote"""


@cuda.jit
def total(x, out):
    warps = cuda.shared.array(32, np.float32)
    mine = np.float32(0)
    for i in range(cuda.grid(1), x.size, cuda.gridsize(1)):
        mine += x[i]
    step = 16
    while step > 0:
        mine += cuda.shfl_down_sync(0xFFFFFFFF, mine, step)
        step //= 2
    if cuda.threadIdx.x % 32 == 0:
        warps[cuda.threadIdx.x // 32] = mine
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        for w in range(1, 32):
            mine += warps[w]
        cuda.atomic.add(out, 0, mine)
