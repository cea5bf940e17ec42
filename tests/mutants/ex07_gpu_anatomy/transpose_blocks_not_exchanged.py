"""block (bx, by) writes its tile to out[bx * TILE, by * TILE], and bx goes along the rows of x"""


@cuda.jit
def transpose(x, out):
    tile = cuda.shared.array((TILE, TILE + 1), np.float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    top, left = cuda.blockIdx.y * TILE, cuda.blockIdx.x * TILE
    for r in range(ty, TILE, ROWS):
        if top + r < x.shape[0] and left + tx < x.shape[1]:
            tile[r, tx] = x[top + r, left + tx]
    cuda.syncthreads()
    for r in range(ty, TILE, ROWS):
        if top + r < out.shape[0] and left + tx < out.shape[1]:
            out[top + r, left + tx] = tile[tx, r]
