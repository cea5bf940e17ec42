"""a barrier is missing between the end of one pass of the loop and the beginning of the next"""


@cuda.jit
def tiled_matmul(a, b, out):
    tile_a = cuda.shared.array((TILE, TILE), np.float32)
    tile_b = cuda.shared.array((TILE, TILE), np.float32)
    j, i = cuda.grid(2)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    total = np.float32(0)
    for start in range(0, a.shape[1], TILE):
        inside = i < a.shape[0] and start + tx < a.shape[1]
        tile_a[ty, tx] = a[i, start + tx] if inside else 0.0
        inside = start + ty < b.shape[0] and j < b.shape[1]
        tile_b[ty, tx] = b[start + ty, j] if inside else 0.0
        cuda.syncthreads()
        for k in range(TILE):
            total += tile_a[ty, k] * tile_b[k, tx]
    if i < out.shape[0] and j < out.shape[1]:
        out[i, j] = total
