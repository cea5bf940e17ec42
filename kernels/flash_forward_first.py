"""FlashAttention's forward pass, the first two rungs: online softmax, and what tiles are for.

Both take arrays as flash_attention.py describes them and go over the keys once, keeping for each
query only the largest score, the sum of the weights and the weighted sum of the values.
"""

import functools

import numpy as np

from kernels import cuda, ptx
from kernels._host import ceil_div

F32 = np.float32
NEVER = F32(-np.inf)  # the score of a key that a query may not see
LEAST = F32(-3e38)  # any other score is above it, whatever a mask adds
LOG2E, LN2 = 1.4426950408889634, 0.6931471805599453
ALL = 0xFFFFFFFF


@functools.cache
def masked(MASK):
    """A device function: the score of a key, in base 2, after the mask has been asked.

    MASK: None, "bool" (True: the query may see the key) or "add". The mask has four axes; one of
    size 1 holds for all.
    """

    @cuda.jit(device=True)
    def after_mask(score, mask, batch, head, query, key):
        if MASK is None:
            return score
        b, h = min(batch, mask.shape[0] - 1), min(head, mask.shape[1] - 1)
        i, j = min(query, mask.shape[2] - 1), min(key, mask.shape[3] - 1)
        if MASK == "bool":
            return score if mask[b, h, i, j] else NEVER
        bias = F32(mask[b, h, i, j])
        if bias == NEVER:
            return NEVER
        score += bias * F32(LOG2E)
        return LEAST if score < LEAST else score  # max would lose NaN on a GPU

    return after_mask


@functools.cache
def one_thread(H, CAUSAL, MASK):
    """Kernel: one thread for one query. The idea alone: softmax in one pass over the keys.

    The weights of softmax are exp(score - top) / total, where top is the largest score of the row.
    Before the last key nobody knows it, so take the largest so far; when a larger one comes, all
    that has been summed was too large by the same factor, and is multiplied by exp(old - new).

    Every thread reads all of K and V for itself, L times as much as there is.
    """
    after_mask = masked(MASK)

    @cuda.jit(fastmath=False, local_memory=True)
    def flash_one_thread(q, k, v, mask, out, lse, unit):
        L, S, heads = q.shape[2], k.shape[2], q.shape[1]
        place = cuda.grid(1)
        if place < lse.size:
            batch, head, i = place // (heads * L), place // L % heads, place % L
            group = head // (heads // k.shape[1])
            sums = cuda.local.array(H, np.float32)
            for d in range(H):
                sums[d] = 0.0
            top, total = NEVER, F32(0)
            end = min(S, i + S - L + 1) if CAUSAL else S
            for j in range(end):
                score = F32(0)
                for d in range(H):
                    score += F32(q[batch, head, i, d]) * F32(k[batch, group, j, d])
                score = after_mask(score * unit, mask, batch, head, i, j)
                if score != NEVER:
                    new = max(top, score)
                    keep, weight = ptx.exp2(top - new), ptx.exp2(score - new)
                    top, total = new, total * keep + weight
                    for d in range(H):
                        sums[d] = sums[d] * keep + weight * F32(v[batch, group, j, d])
            share = ptx.reciprocal(total) if total > F32(0) else F32(0)
            for d in range(H):
                out[batch, head, i, d] = sums[d] * share
            lse[batch, head, i] = (top + ptx.log2(total)) * F32(LN2)

    return flash_one_thread


@functools.cache
def keys_outside(H, ROWS, CAUSAL, MASK):
    """Kernel: tiles in shared memory, in the order of the first FlashAttention: a block goes over
    the keys in tiles of 32, and for each tile over all queries of its head, ROWS at a time.

    K and V are read once by the block, and each of their numbers serves ROWS warps from shared
    memory. But with every tile of keys each query's output and log-sum-exp are read, rescaled and
    written again, and there are only as many blocks as heads.

    A warp has one query; a lane has one key for the scores, and every 32nd column for the output.
    """
    after_mask = masked(MASK)
    PITCH = H + 1  # rows of K lie in different banks, so that 32 lanes read 32 of them at once

    @cuda.jit(launch_bounds=32 * ROWS, fastmath=False)
    def flash_keys_outside(q, k, v, mask, out, lse, unit):
        shared = cuda.shared.array(0, np.float32)  # K (32, PITCH), V (32, H)
        lane, warp = cuda.threadIdx.x % 32, cuda.threadIdx.x // 32
        batch, head = cuda.blockIdx.x // q.shape[1], cuda.blockIdx.x % q.shape[1]
        group = head // (q.shape[1] // k.shape[1])
        L, S = q.shape[2], k.shape[2]
        for start in range(0, S, 32):
            for e in range(cuda.threadIdx.x, 32 * H, 32 * ROWS):
                row, d = e // H, e % H
                key, value = F32(0), F32(0)
                if start + row < S:
                    key, value = k[batch, group, start + row, d], v[batch, group, start + row, d]
                shared[row * PITCH + d] = key
                shared[32 * PITCH + row * H + d] = value
            cuda.syncthreads()
            first = max(0, start + L - S) // ROWS * ROWS if CAUSAL and start > 0 else 0
            for i in range(first + warp, L, ROWS):
                j = start + lane
                score = NEVER
                if j < S and (not CAUSAL or j <= i + S - L):
                    score = F32(0)
                    for d in range(H):
                        score += q[batch, head, i, d] * shared[lane * PITCH + d]
                    score = after_mask(score * unit, mask, batch, head, i, j)
                old = lse[batch, head, i] * F32(LOG2E) if start > 0 else NEVER
                cuda.syncwarp()  # lane 0 is going to write it
                top = score
                for step in cuda.unroll(5):
                    top = max(top, cuda.shfl_xor_sync(ALL, top, 1 << step))
                top = max(top, old)
                base = top if top > NEVER else F32(0)
                weight, keep = ptx.exp2(score - base), ptx.exp2(old - base)
                total = weight
                for step in cuda.unroll(5):
                    total += cuda.shfl_xor_sync(ALL, total, 1 << step)
                total += keep
                share = ptx.reciprocal(total) if total > F32(0) else F32(0)
                for d in range(lane, H + lane, 32):
                    column, at = F32(0), 32 * PITCH + min(d, H - 1)
                    for t in range(32):
                        column += cuda.shfl_sync(ALL, weight, t) * shared[at + t * H]
                    if d < H:
                        if start > 0:
                            column += keep * out[batch, head, i, d]
                        out[batch, head, i, d] = column * share
                if lane == 0:
                    lse[batch, head, i] = (base + ptx.log2(total)) * F32(LN2)
            cuda.syncthreads()

    return flash_keys_outside


def run_one_thread(q, k, v, mask, kind, out, lse, unit, causal):
    """Launch the first rung."""
    kernel = one_thread(q.shape[3], causal, kind)
    kernel[ceil_div(lse.size, 128), 128](q, k, v, mask, out, lse, unit)


def run_keys_outside(q, k, v, mask, kind, out, lse, unit, causal, rows=8):
    """Launch the second rung, float32 alone; ``rows`` warps a block."""
    kernel = keys_outside(q.shape[3], rows, causal, kind)
    shared = 32 * (2 * q.shape[3] + 1) * 4
    kernel[q.shape[0] * q.shape[1], 32 * rows, None, shared](q, k, v, mask, out, lse, unit)
