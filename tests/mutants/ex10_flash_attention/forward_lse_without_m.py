"""the log-sum-exp lacks the largest score: it is m + log(l)"""


@cuda.jit
def flash_forward(q, k, v, scale, out, out_lse):
    tile_k = cuda.shared.array((BLOCK, HEAD), np.float32)
    tile_v = cuda.shared.array((BLOCK, HEAD), np.float32)
    mine = cuda.local.array(HEAD, np.float32)
    sums = cuda.local.array(HEAD, np.float32)
    i, t = cuda.grid(1), cuda.threadIdx.x
    m, l = np.float32(-math.inf), np.float32(0)
    for h in range(HEAD):
        mine[h] = q[i, h] if i < q.shape[0] else 0.0
        sums[h] = 0
    for start in range(0, k.shape[0], BLOCK):
        count = min(BLOCK, k.shape[0] - start)
        if t < count:
            for h in range(HEAD):
                tile_k[t, h] = k[start + t, h]
                tile_v[t, h] = v[start + t, h]
        cuda.syncthreads()
        for j in range(count):
            s = np.float32(0)
            for h in range(HEAD):
                s += mine[h] * tile_k[j, h]
            s *= scale
            new = max(m, s)
            old, weight = math.exp(m - new), math.exp(s - new)
            l = l * old + weight
            for h in range(HEAD):
                sums[h] = sums[h] * old + weight * tile_v[j, h]
            m = new
        cuda.syncthreads()
    if i < q.shape[0]:
        for h in range(HEAD):
            out[i, h] = sums[h] / l
        out_lse[i] = math.log(l)
