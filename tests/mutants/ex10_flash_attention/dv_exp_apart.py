"""exp(s) and exp(lse) are taken apart: take the exp of the difference"""


@cuda.jit
def flash_backward_dv(q, k, scale, lse, dout, out):
    tile_q = cuda.shared.array((BLOCK, HEAD), np.float32)
    tile_d = cuda.shared.array((BLOCK, HEAD), np.float32)
    tile_lse = cuda.shared.array(BLOCK, np.float32)
    mine = cuda.local.array(HEAD, np.float32)
    sums = cuda.local.array(HEAD, np.float32)
    j, t = cuda.grid(1), cuda.threadIdx.x
    for h in range(HEAD):
        mine[h] = k[j, h] if j < k.shape[0] else 0.0
        sums[h] = 0
    for start in range(0, q.shape[0], BLOCK):
        count = min(BLOCK, q.shape[0] - start)
        if t < count:
            for h in range(HEAD):
                tile_q[t, h] = q[start + t, h]
                tile_d[t, h] = dout[start + t, h]
            tile_lse[t] = lse[start + t]
        cuda.syncthreads()
        for i in range(count):
            s = np.float32(0)
            for h in range(HEAD):
                s += tile_q[i, h] * mine[h]
            p = math.exp(s * scale) / math.exp(tile_lse[i])
            for h in range(HEAD):
                sums[h] += p * tile_d[i, h]
        cuda.syncthreads()
    if j < k.shape[0]:
        for h in range(HEAD):
            out[j, h] = sums[h]
