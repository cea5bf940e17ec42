"""it stands inside an if, or in a loop of its own"""


@cuda.jit
def transpose(x, out):
    tile = cuda.shared.array((TILE, TILE + 1), np.float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    top, left = cuda.blockIdx.y * TILE, cuda.blockIdx.x * TILE
    for r in range(ty, TILE, ROWS):
        if top + r < x.shape[0] and left + tx < x.shape[1]:
            tile[r, tx] = x[top + r, left + tx]
    if ty < x.shape[0]:
        cuda.syncthreads()
    for r in range(ty, TILE, ROWS):
        if left + r < out.shape[0] and top + tx < out.shape[1]:
            out[left + r, top + tx] = tile[tx, r]
