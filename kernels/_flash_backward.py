"""What the rungs of the backward pass share: statistics of rows, copies of rows, masks."""

import functools
import math

import numpy as np

from kernels import cuda, ptx

LOG2E = np.float32(math.log2(math.e))
NEVER = np.float32(-np.inf)  # the score of a key that is not seen
PAD = 256  # rows of statistics are padded to this many, so that no tile asks whether a row exists


@functools.cache
def row_statistics(H, KIND):
    """Kernel: (dout, out, lse) of rows of width H -> for each row delta = sum(dout * out), and the
    log-sum-exp in base 2.

    Eight lanes share a row. A row that does not exist, or whose query sees no key, gets delta 0 and
    log-sum-exp +inf, so that all its probabilities come out 0 with no further question.
    """
    EACH = 4 if KIND == "float32" else 8  # numbers in 16 bytes
    unpack = ptx.unpack_bf16 if KIND == "bfloat16" else ptx.unpack_f16

    @cuda.jit(device=True)
    def dot(x, y):
        x0, x1 = unpack(x)
        y0, y1 = unpack(y)
        return x0 * y0 + x1 * y1

    @cuda.jit(launch_bounds=256)
    def statistics(dout, out, lse, stats):
        i, lane = np.int64(cuda.blockIdx.x) * 32 + cuda.threadIdx.x // 8, cuda.threadIdx.x % 8
        head, L = np.int64(cuda.blockIdx.y), lse.shape[1]
        delta = np.float32(0)
        if i < L:
            for c in range(lane, H // EACH, 8):
                at = (head * L + i) * H + c * EACH
                if KIND == "float32":
                    x0, x1, x2, x3 = ptx.load4(dout, at)
                    y0, y1, y2, y3 = ptx.load4(out, at)
                    delta += x0 * y0 + x1 * y1 + x2 * y2 + x3 * y3
                else:
                    x0, x1, x2, x3 = ptx.load_words(dout, at)
                    y0, y1, y2, y3 = ptx.load_words(out, at)
                    delta += dot(x0, y0) + dot(x1, y1) + dot(x2, y2) + dot(x3, y3)
        for step in range(3):
            delta += cuda.shfl_xor_sync(0xFFFFFFFF, delta, 1 << step)
        if lane == 0:
            lse2 = -NEVER
            if i < L and lse[head, i] != NEVER:
                lse2 = lse[head, i] * LOG2E
            stats[0, head, i] = lse2
            stats[1, head, i] = delta

    return statistics


@functools.cache
def fetching(H, W, PITCH, EACH, ROWS, THREADS, twist, APART=None):
    """Device function: begin to copy ROWS rows of width H into shared memory from ``to`` on, where
    they have width W and begin PITCH apart; from row ``count`` on, and beyond H, they are zeros.

    EACH: numbers in 16 bytes, a chunk. twist(row): what a chunk's number is xored with there.
    APART: from a chunk to the one 8 further on, or 4 if rows have no multiple of 8 chunks.
    """
    CHUNKS = W // EACH
    LANES = math.gcd(CHUNKS, 8)  # that share a row
    APART = LANES * EACH if APART is None else APART
    SWEEP = THREADS // LANES
    SWEEPS = -(-ROWS // SWEEP)

    @cuda.jit(device=True)
    def fetch(tile, to, source, start, count, t):
        row, chunk = t // LANES, t % LANES
        for r in range(SWEEPS):
            if (r + 1) * SWEEP <= ROWS or row + r * SWEEP < ROWS:
                for c in range(CHUNKS // LANES):
                    size = np.uint32(0)
                    inside = W == H or (chunk + c * LANES) * EACH < H
                    if inside and np.int32(row + r * SWEEP) < np.int32(count):
                        size = np.uint32(16)
                    place = (chunk ^ twist(row + r * SWEEP)) * EACH + c * APART
                    place += (row + r * SWEEP) * PITCH
                    begin = (row + r * SWEEP) * H + (chunk + c * LANES) * EACH
                    ptx.cp_async16(tile, to + place, source, start + begin, size)

    return fetch


@functools.cache
def masking(MASK):
    """Device function: a score in base 2 with the mask's word on it."""

    @cuda.jit(device=True)
    def masked(score, word):
        if MASK == "bool":
            return score if word else NEVER
        return score + np.float32(word) * LOG2E

    return masked


@cuda.jit(device=True)
def untwisted(row):
    """For rows whose chunks stay in their places."""
    return 0


# What a lane holds of scores on the tensor cores


@functools.cache
def key_tools(M, N, KIND, MASK):
    """Device functions on a lane's part of transposed scores, (16 M keys, N queries), as ``mma``
    gives it: (see, hide, weigh, slope).

    Of its M N / 2 scores number i lies ``down`` keys and ``right`` queries from the first, which is
    key lane / 4 and query 2 (lane mod 4). Packed by twos, weights are what the lane has to hold of
    the left operand of the next product.
    """
    pack, masked = ptx.pack_bf16 if KIND == "bfloat16" else ptx.pack_f16, masking(MASK)

    @cuda.jit(device=True)
    def see(s, mask, b, head, key, query, scale2):
        # Scale scores and put the mask on them.
        for i in range(M * N // 2):
            down, right = i // (N // 2) * 16 + i // 2 % 2 * 8, i // 4 % (N // 8) * 8 + i % 2
            s[i] *= scale2
            if query + right < mask.shape[2] and key + down < mask.shape[3]:
                s[i] = masked(s[i], mask[b, head, query + right, key + down])

    @cuda.jit(device=True)
    def hide(s, ahead):
        # Keys that come more than ``ahead`` after their query, both counted from the lane's first.
        for i in range(M * N // 2):
            if i // (N // 2) * 16 + i // 2 % 2 * 8 - i // 4 % (N // 8) * 8 - i % 2 > ahead:
                s[i] = NEVER

    @cuda.jit(device=True)
    def weigh(s, p, lse, at, unit):
        # P^T = exp(S^T - lse), also packed
        for j in range(N // 8):
            low, high = lse[at + j * 8], lse[at + j * 8 + 1]
            for m in range(M):
                for r in range(2):
                    i = (m * N // 8 + j) * 4 + 2 * r
                    s[i] = ptx.exp2(s[i] * unit - low)
                    s[i + 1] = ptx.exp2(s[i + 1] * unit - high)
                    p[(m * N // 8 + j) * 2 + r] = pack(s[i], s[i + 1])

    @cuda.jit(device=True)
    def slope(s, ds, p, delta, at):
        # dS^T = P^T (dP^T - delta), packed
        for j in range(N // 8):
            low, high = delta[at + j * 8], delta[at + j * 8 + 1]
            for m in range(M):
                for r in range(2):
                    i = (m * N // 8 + j) * 4 + 2 * r
                    a, b = s[i] * (ds[i] - low), s[i + 1] * (ds[i + 1] - high)
                    p[(m * N // 8 + j) * 2 + r] = pack(a, b)

    return see, hide, weigh, slope


@functools.cache
def query_tools(M, N, KIND, MASK):
    """The same of scores that are not transposed, (16 M queries, N keys): here statistics belong to
    rows, of which a lane has 2 M, 8 apart."""
    pack, masked = ptx.pack_bf16 if KIND == "bfloat16" else ptx.pack_f16, masking(MASK)

    @cuda.jit(device=True)
    def see(s, mask, b, head, query, key, scale2):
        for i in range(M * N // 2):
            down, right = i // (N // 2) * 16 + i // 2 % 2 * 8, i // 4 % (N // 8) * 8 + i % 2
            s[i] *= scale2
            if query + down < mask.shape[2] and key + right < mask.shape[3]:
                s[i] = masked(s[i], mask[b, head, query + down, key + right])

    @cuda.jit(device=True)
    def hide(s, sees, key):
        # Keys from sees[row] on, both counted from the lane's first.
        for i in range(M * N // 2):
            if i // 4 % (N // 8) * 8 + i % 2 >= sees[i // (N // 2) * 2 + i // 2 % 2] - np.int32(
                key
            ):
                s[i] = NEVER

    @cuda.jit(device=True)
    def weigh(s, lse, unit):
        for i in range(M * N // 2):
            s[i] = ptx.exp2(s[i] * unit - lse[i // (N // 2) * 2 + i // 2 % 2])

    @cuda.jit(device=True)
    def slope(s, ds, p, delta):
        for i in range(M * N // 4):
            row = i // (N // 4) * 2 + i % 2
            a, b = s[2 * i] * (ds[2 * i] - delta[row]), s[2 * i + 1] * (ds[2 * i + 1] - delta[row])
            p[i] = pack(a, b)

    return see, hide, weigh, slope


@functools.cache
def writing(M, COLUMNS, H, KIND):
    """Device function: write a lane's part of sums (16 M, COLUMNS), times ``scale``, to rows of
    width H, of which ``rows`` and of whose columns ``columns`` are left from its first on."""
    pack = ptx.pack_bf16 if KIND == "bfloat16" else ptx.pack_f16

    @cuda.jit(device=True)
    def write(out, at, rows, columns, sums, scale):
        for m in range(M):
            for r in range(2):
                if m * 16 + r * 8 < rows:
                    for c in range(COLUMNS // 8):
                        if H % COLUMNS == 0 or c * 8 < columns:
                            i, to = (m * COLUMNS // 8 + c) * 4 + 2 * r, (m * 16 + r * 8) * H + c * 8
                            pair = pack(sums[i] * scale, sums[i + 1] * scale)
                            ptx.store_word(out, at + to, pair)

    return write
