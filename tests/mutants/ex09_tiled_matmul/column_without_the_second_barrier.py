"""a barrier is missing between the end of one pass of the loop and the beginning of the next"""


@cuda.jit
def column_matmul(a, b, out):
    tile_a = cuda.shared.array((TILE * EACH, TILE), np.float32)
    tile_b = cuda.shared.array((TILE, TILE), np.float32)
    tx, ty = cuda.threadIdx.x, cuda.threadIdx.y
    top, j = cuda.blockIdx.y * TILE * EACH + ty, cuda.blockIdx.x * TILE + tx
    totals = cuda.local.array(EACH, np.float32)
    for e in range(EACH):
        totals[e] = 0
    for start in range(0, a.shape[1], TILE):
        for e in range(EACH):
            i = top + e * TILE
            inside = i < a.shape[0] and start + tx < a.shape[1]
            tile_a[ty + e * TILE, tx] = a[i, start + tx] if inside else 0.0
        inside = start + ty < b.shape[0] and j < b.shape[1]
        tile_b[ty, tx] = b[start + ty, j] if inside else 0.0
        cuda.syncthreads()
        for k in range(TILE):
            of_b = tile_b[k, tx]
            for e in range(EACH):
                totals[e] += tile_a[ty + e * TILE, k] * of_b
    for e in range(EACH):
        if top + e * TILE < out.shape[0] and j < out.shape[1]:
            out[top + e * TILE, j] = totals[e]
