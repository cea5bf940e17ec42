"""Attention of one or a few new tokens over a long cache: flash-decoding, on tensor cores or not.

Two numbers first. A step of decoding reads all keys and values once, 2 · n_kv · S · H numbers, and
with G = n_h / n_kv query heads to a KV head makes 4 · G floating-point operations of each: 8 at
G = 4 for each byte of float16. An H100 reads 3 TB/s and multiplies a hundred times as fast. So this
is a question of bytes, and of nothing else:

- one read: the query heads of a group (and the few tokens, if several are asked for at once) are
  the *rows* that one block works on, so that keys and values come from memory once;
- the whole chip: one query fills no GPU, so the cache is cut along the sequence into parts. A
  block writes its part's unfinished output, greatest score and sum in float32, and a second kernel
  merges the parts (Dao et al., "Flash-Decoding for long-context inference", 2023);
- enough bytes under way: a memory with 3 TB/s and 0.7 µs owes 2 MB at any time. Each warp has a
  **queue** of its own in shared memory, which asynchronous copies fill a few steps ahead, and the
  loop needs no barrier of the block;
- whole lines: a request of a warp asks for 512 neighbouring bytes. (The first version let a lane
  copy just what it would use itself, half lines of K, 64 bytes of each of 8 keys, and read 2.45
  TB/s where this one reads 2.99: 82 and 100 % of what a device copy moves.)

The products in 16 bits go to the tensor cores, as Sᵀ = K Qᵀ and Oᵀ = Vᵀ Pᵀ: keys are then the 16
rows of an mma, and up to 8 query rows its columns. Which of the 16 summands of an mma stands where
does not matter as long as both factors agree; so a lane takes 8 neighbours of a row, 16 bytes, as
they lie in memory. No number is moved between lanes but P, 8 x 8 at a time.
"""

import functools
import math

import numpy as np

from kernels import cuda, ptx
from kernels._host import (
    attention_scale,
    ceil_div,
    check,
    empty,
    flag,
    integer,
    multiprocessors,
    namespace,
    present,
    shared_bytes,
)

F32, U32, I64 = np.float32, np.uint32, np.int64
FULL = 0xFFFFFFFF
LOWEST = F32(-1e38)  # the greatest score of no keys at all
MASKED = F32(-3e38)  # a score that no key has, and whose power of 2 is 0 even under LOWEST
NAN = F32(np.nan)
INF = F32(np.inf)
LN2 = F32(math.log(2))
WIDTHS = 32, 64, 80, 96, 128, 256
PAGES = 16, 32, 64
MOST_PARTS = 256
KEYS = 16  # of a step
_WAIT = {2: ptx.cp_async_wait0, 3: ptx.cp_async_wait1, 4: ptx.cp_async_wait2, 5: ptx.cp_async_wait3}


@cuda.jit(device=True)
def divided(a, b):
    """a // b and a % b of numbers under 2^32, for which division takes a fifth of the time."""
    return I64(U32(a) // U32(b)), I64(U32(a) % U32(b))


@cuda.jit(device=True)
def locate(table, batch, head, heads, step, page, pages, size):
    """The row of the cache, seen as (rows, H), at which a step's keys begin. Contiguous (page 0): a
    sequence has ``size`` rows for each head. Paged: a page has ``page`` rows for each head, and the
    table says which pages a sequence has; -1 if it names one that there is not."""
    if page == 0:
        return (batch * heads + head) * size + KEYS * step
    number = table[batch, KEYS * step // page]
    if number < 0 or number >= pages:
        return -1
    return (number * heads + head) * page + KEYS * step % page


@cuda.jit(device=True)
def write_part(shared, totals, partial, stats, first, rows, part, H, region, pitch, warps):
    """Put the warps' unfinished outputs together, and write those of ``rows`` rows. In ``shared``
    a warp has (rows, pitch) floats from warp · region on; in ``totals`` its maxima and sums."""
    cuda.syncthreads()
    for i in range(cuda.threadIdx.x, rows * H, cuda.blockDim.x):
        row, column = i // H, i % H
        top = totals[0, row, 0]
        for w in range(1, warps):
            top = max(top, totals[w, row, 0])
        out, total = F32(0.0), F32(0.0)
        for w in range(warps):
            weight = ptx.exp2(totals[w, row, 0] - top)
            out += weight * shared[w * region + row * pitch + column]
            total += weight * totals[w, row, 1]
        partial[first + row, part, column] = out
        if column == 0:
            stats[first + row, part, 0] = top
            stats[first + row, part, 1] = total


@cuda.jit(device=True)
def turned(key):
    """By which bits the places of a key's 16-byte pieces differ from their numbers, so that both
    the 8 lanes that read 2 keys and those that read 4 even or odd ones find them in 32 banks."""
    return (4 * (key % 2)) ^ (2 * (key // 2 % 4))


@functools.cache
def make_tensor_core_split(H, bf16, page, warps, stages):
    """The kernel for 16-bit numbers. A step is 16 keys, the work of one warp."""
    KC, VC = ceil_div(H, 32), ceil_div(H, 64)  # 16-byte pieces that a lane has of a row of K, of V
    ROW = 8 * VC  # pieces of a row in shared memory
    STEP = 128 * ROW  # floats of shared memory that a step takes, K and V
    REGION, PITCH = stages * STEP, 64 * VC
    PAGE, WARPS, AHEAD = page, warps, stages - 1
    mma = ptx.mma_bf16 if bf16 else ptx.mma_f16
    pack = ptx.pack_bf16 if bf16 else ptx.pack_f16
    cp_async_wait = _WAIT[stages]

    @cuda.jit(device=True)
    def fetch(queue, at, k, v, row, left):
        """Begin to copy a step from row ``row`` on, 512 neighbouring bytes at a time. Keys from
        ``left`` on are zeros."""
        for i in range(ROW // 2):
            key, piece = (32 * i + cuda.laneid) // ROW, (32 * i + cuda.laneid) % ROW
            count = U32(16) if (key < left) & (8 * piece < H) else U32(0)
            to, source = at + 4 * (ROW * key + (piece ^ turned(key))), (row + key) * H + 8 * piece
            ptx.cp_async16(queue, to, k, source, count)
            ptx.cp_async16(queue, to + 64 * ROW, v, source, count)

    @cuda.jit(launch_bounds=(32 * warps, 1), fastmath=False)
    def split(q, k, v, lengths, table, partial, stats, tokens, parts, scale):
        # q (B, n_kv, rows, H); k, v (B, n_kv, S, H) or (pages, n_kv, PAGE, H)
        # partial (B · n_kv · rows, parts, H), stats (B · n_kv · rows, parts, 2)
        queue = cuda.shared.array(0, F32, alignment=16)
        totals = cuda.shared.array((WARPS, 8, 2), F32)
        qs = cuda.local.array(4 * KC, U32)
        o = cuda.local.array(16 * VC, F32)
        heads, rows = q.shape[1], q.shape[2]
        part, tile = divided(cuda.blockIdx.x, (rows + 7) // 8)
        head, batch = cuda.blockIdx.y, cuda.blockIdx.z
        warp, lane = cuda.threadIdx.x // 32, cuda.laneid
        g, t = lane // 4, lane % 4
        first = (batch * heads + head) * rows + 8 * tile  # row of q, seen as (B · n_kv · rows, H)

        for j in range(KC):
            if (8 * tile + g < rows) & (32 * j + 8 * t < H):
                words = ptx.load_words(q, (first + g) * H + 32 * j + 8 * t)
                for i in cuda.unroll(4):
                    qs[4 * j + i] = words[i]
            else:
                for i in range(4):
                    qs[4 * j + i] = U32(0)
        for i in range(16 * VC):
            o[i] = 0.0
        m0, m1, l0, l1 = LOWEST, LOWEST, F32(0.0), F32(0.0)  # of rows 2t and 2t + 1

        size = k.shape[2]
        most = size if PAGE == 0 else PAGE * table.shape[1]
        length = min(max(lengths[batch], 0), most)
        steps = (length + KEYS - 1) // KEYS
        step = divided(steps * part, parts)[0] + warp
        end = divided(steps * (part + 1), parts)[0]
        # The last token sees all keys, the one before all but the last, and so on.
        limit0 = length - (tokens - 1 - divided(8 * tile + 2 * t, tokens)[1])
        limit1 = length - (tokens - 1 - divided(8 * tile + 2 * t + 1, tokens)[1])

        mine, slot, ahead, bad, row = warp * REGION, 0, step, False, 0
        if ahead < end:
            row = locate(table, batch, head, heads, ahead, PAGE, k.shape[0], size)
        for i in range(AHEAD):
            if ahead < end:
                bad = bad | (row < 0)
                fetch(queue, mine + i * STEP, k, v, row, 0 if row < 0 else length - KEYS * ahead)
                ahead += WARPS
                if ahead < end:
                    row = locate(table, batch, head, heads, ahead, PAGE, k.shape[0], size)
            ptx.cp_async_commit()

        while step < end:
            cp_async_wait()
            cuda.syncwarp()  # all lanes' copies are there, and the step before has been read
            if ahead < end:
                to = mine + (slot - 1 if slot > 0 else AHEAD) * STEP
                bad = bad | (row < 0)
                fetch(queue, to, k, v, row, 0 if row < 0 else length - KEYS * ahead)
                ahead += WARPS
                if ahead < end:  # the table is read a step early: no copy waits for it
                    row = locate(table, batch, head, heads, ahead, PAGE, k.shape[0], size)
            ptx.cp_async_commit()

            # Sᵀ (16 keys, 8 rows): s0, s1 are key g of rows 2t and 2t + 1; s2, s3 key g + 8.
            at = mine + slot * STEP + 4 * ROW * g
            s0, s1, s2, s3 = F32(0.0), F32(0.0), F32(0.0), F32(0.0)
            r0, r1, r2, r3 = F32(0.0), F32(0.0), F32(0.0), F32(0.0)
            for j in range(KC):
                piece = 8 * (j // 2) + ((4 * (j % 2) + t) ^ turned(g))
                a = ptx.load_words_shared(queue, at + 4 * piece)
                b = ptx.load_words_shared(queue, at + 4 * (8 * ROW + piece))
                s0, s1, s2, s3 = mma(
                    a[0], b[0], a[1], b[1], qs[4 * j], qs[4 * j + 1], s0, s1, s2, s3
                )
                r0, r1, r2, r3 = mma(
                    a[2], b[2], a[3], b[3], qs[4 * j + 2], qs[4 * j + 3], r0, r1, r2, r3
                )
            left0, left1 = limit0 - KEYS * step, limit1 - KEYS * step
            s0 = (s0 + r0) * scale if g < left0 else MASKED
            s1 = (s1 + r1) * scale if g < left1 else MASKED
            s2 = (s2 + r2) * scale if g + 8 < left0 else MASKED
            s3 = (s3 + r3) * scale if g + 8 < left1 else MASKED

            n0, n1 = max(m0, max(s0, s2)), max(m1, max(s1, s3))
            for i in cuda.unroll(2, 5):
                n0 = max(n0, cuda.shfl_xor_sync(FULL, n0, 2**i))
                n1 = max(n1, cuda.shfl_xor_sync(FULL, n1, 2**i))
            c0, c1 = ptx.exp2(m0 - n0), ptx.exp2(m1 - n1)
            s0, s2 = ptx.exp2(s0 - n0), ptx.exp2(s2 - n0)
            s1, s3 = ptx.exp2(s1 - n1), ptx.exp2(s3 - n1)
            l0, l1 = l0 * c0 + (s0 + s2), l1 * c1 + (s1 + s3)
            m0, m1 = n0, n1
            p0, p1 = ptx.transpose8(pack(s0, s1)), ptx.transpose8(pack(s2, s3))

            # Oᵀ (columns, 8 rows) += Vᵀ Pᵀ. In one mma a lane has columns 8g + 2i and 8g + 2i + 1.
            at = mine + slot * STEP + 4 * ROW * (16 + 2 * t)
            for j in range(VC):
                even, odd = 8 * j + (g ^ turned(2 * t)), ROW + 8 * j + (g ^ turned(2 * t + 1))
                a = ptx.load_words_shared(queue, at + 4 * even)
                b = ptx.load_words_shared(queue, at + 4 * odd)
                c = ptx.load_words_shared(queue, at + 4 * (8 * ROW + even))
                d = ptx.load_words_shared(queue, at + 4 * (8 * ROW + odd))
                for i in cuda.unroll(4):
                    e = 16 * j + 4 * i
                    o[e], o[e + 1], o[e + 2], o[e + 3] = mma(
                        ptx.pick_bytes(a[i], b[i], 0x5410), ptx.pick_bytes(a[i], b[i], 0x7632),
                        ptx.pick_bytes(c[i], d[i], 0x5410), ptx.pick_bytes(c[i], d[i], 0x7632),
                        p0, p1, o[e] * c0, o[e + 1] * c1, o[e + 2] * c0, o[e + 3] * c1,
                    )  # fmt: skip
            slot = slot + 1 if slot < AHEAD else 0
            step += WARPS

        for i in cuda.unroll(2, 5):
            l0 += cuda.shfl_xor_sync(FULL, l0, 2**i)
            l1 += cuda.shfl_xor_sync(FULL, l1, 2**i)
        if g == 0:
            totals[warp, 2 * t, 0], totals[warp, 2 * t + 1, 0] = m0, m1
            totals[warp, 2 * t, 1] = NAN if bad else l0
            totals[warp, 2 * t + 1, 1] = NAN if bad else l1
        cuda.syncwarp()  # the warp's queue is empty: its output goes there
        for j in range(VC):
            for i in range(4):
                e, at = 16 * j + 4 * i, warp * REGION + 2 * t * PITCH + 64 * j + 8 * g + 2 * i
                queue[at], queue[at + PITCH] = o[e], o[e + 1]
                queue[at + 1], queue[at + PITCH + 1] = o[e + 2], o[e + 3]
        here = min(8, rows - 8 * tile)
        write_part(queue, totals, partial, stats, first, here, part, H, REGION, PITCH, WARPS)

    return split


@functools.cache
def make_split(H, rows, page, warps, stages):
    """The kernel for float32, which multiplies and adds by itself. A step is 8 keys of a warp, a
    block has up to ``rows`` rows. K: 8 lanes a key, 4 keys at a time. V: as many lanes a key as its
    row needs, in pieces of 4 numbers."""
    LANES = min(32, 1 << (H // 4 - 1).bit_length())  # that share a row of V
    TOGETHER = 32 // LANES  # rows of V at a time
    KC, VC, VR = ceil_div(H, 32), ceil_div(H, 128), 8 // TOGETHER
    STEP = 128 * (2 * KC + VR * VC)
    ROWS, REGION, PITCH = rows, stages * STEP, H
    PAGE, WARPS, AHEAD = page, warps, stages - 1
    cp_async_wait = _WAIT[stages]

    @cuda.jit(device=True)
    def fetch(queue, at, k, v, row, left):
        """Begin to copy a step from row ``row`` on. Keys from ``left`` on are zeros."""
        lane = cuda.laneid
        for i in range(2):
            for j in range(KC):
                key, column = 4 * i + lane // 8, 32 * j + 4 * (lane % 8)
                count = U32(16) if (key < left) & (column < H) else U32(0)
                ptx.cp_async16(queue, at + 128 * (KC * i + j), k, (row + key) * H + column, count)
        for i in range(VR):
            for j in range(VC):
                key, column = TOGETHER * i + lane // LANES, 128 * j + 4 * (lane % LANES)
                count = U32(16) if (key < left) & (column < H) else U32(0)
                place = at + 128 * (2 * KC + VC * i + j)
                ptx.cp_async16(queue, place, v, (row + key) * H + column, count)

    @cuda.jit(launch_bounds=(32 * warps, 1), fastmath=False)
    def split(q, k, v, lengths, table, partial, stats, tokens, parts, scale):
        # shapes as above
        queue = cuda.shared.array(0, F32, alignment=16)
        totals = cuda.shared.array((WARPS, ROWS, 2), F32)
        qs = cuda.shared.array((ROWS, 32 * KC), F32, alignment=16)
        o = cuda.local.array((ROWS, 4 * VC), F32)
        s = cuda.local.array((ROWS, 2), F32)
        m, l = cuda.local.array(ROWS, F32), cuda.local.array(ROWS, F32)
        heads, rows = q.shape[1], q.shape[2]
        part, tile = divided(cuda.blockIdx.x, (rows + ROWS - 1) // ROWS)
        head, batch = cuda.blockIdx.y, cuda.blockIdx.z
        warp, lane = cuda.threadIdx.x // 32, cuda.laneid
        first = (batch * heads + head) * rows + ROWS * tile
        here = min(ROWS, rows - ROWS * tile)

        for i in range(cuda.threadIdx.x, ROWS * 32 * KC, 32 * WARPS):
            r, column = i // (32 * KC), i % (32 * KC)
            inside = (r < here) & (column < H)
            qs[r, column] = q[batch, head, ROWS * tile + r, column] if inside else F32(0.0)
        for r in range(ROWS):
            m[r], l[r] = LOWEST, 0.0
            for i in range(4 * VC):
                o[r, i] = 0.0
        cuda.syncthreads()

        size = k.shape[2]
        most = size if PAGE == 0 else PAGE * table.shape[1]
        length = min(max(lengths[batch], 0), most)
        steps = (length + KEYS - 1) // KEYS
        # Two steps of 8 keys make one of 16: the same cut, and no step lies on two pages.
        step = 2 * divided(steps * part, parts)[0] + warp
        end = 2 * divided(steps * (part + 1), parts)[0]
        mine, slot, ahead, bad, row = warp * REGION + 4 * lane, 0, step, False, 0
        for i in range(AHEAD):
            if ahead < end:
                row = locate(table, batch, head, heads, ahead // 2, PAGE, k.shape[0], size)
                bad = bad | (row < 0)
                left = 0 if row < 0 else length - 8 * ahead
                fetch(queue, mine + i * STEP, k, v, row + 8 * (ahead % 2), left)
                ahead += WARPS
            ptx.cp_async_commit()

        while step < end:
            cp_async_wait()
            if ahead < end:
                row = locate(table, batch, head, heads, ahead // 2, PAGE, k.shape[0], size)
                bad = bad | (row < 0)
                left = 0 if row < 0 else length - 8 * ahead
                to = mine + (slot - 1 if slot > 0 else AHEAD) * STEP
                fetch(queue, to, k, v, row + 8 * (ahead % 2), left)
                ahead += WARPS
            ptx.cp_async_commit()

            # S (rows, 8 keys): a lane adds up every eighth piece of key lane / 8 and the fourth on.
            at = mine + slot * STEP
            for r in range(ROWS):
                s[r, 0], s[r, 1] = 0.0, 0.0
            for j in range(KC):
                a = ptx.load4_shared(queue, at + 128 * j)
                b = ptx.load4_shared(queue, at + 128 * (KC + j))
                for r in range(ROWS):
                    x = ptx.load4_shared(qs, 32 * (KC * r + j) + 4 * (lane % 8))
                    s[r, 0] += a[0] * x[0] + a[1] * x[1] + a[2] * x[2] + a[3] * x[3]
                    s[r, 1] += b[0] * x[0] + b[1] * x[1] + b[2] * x[2] + b[3] * x[3]
            for r in range(ROWS):
                last = tokens - 1 - divided(ROWS * tile + r, tokens)[1]
                limit = length - last - 8 * step
                for i in range(2):
                    for bit in cuda.unroll(3):
                        s[r, i] += cuda.shfl_xor_sync(FULL, s[r, i], 2**bit)
                    s[r, i] = s[r, i] * scale if 4 * i + lane // 8 < limit else MASKED
                top = max(m[r], max(s[r, 0], s[r, 1]))
                top = max(top, cuda.shfl_xor_sync(FULL, top, 8))
                top = max(top, cuda.shfl_xor_sync(FULL, top, 16))
                c = ptx.exp2(m[r] - top)
                s[r, 0], s[r, 1] = ptx.exp2(s[r, 0] - top), ptx.exp2(s[r, 1] - top)
                l[r], m[r] = l[r] * c + (s[r, 0] + s[r, 1]), top
                for i in range(4 * VC):
                    o[r, i] *= c
            for i in range(VR):
                # Key TOGETHER · i + lane / LANES: its score is with the 8 lanes that had the key.
                source = 8 * ((TOGETHER * i + lane // LANES) % 4)
                for j in range(VC):
                    a = ptx.load4_shared(queue, at + 128 * (2 * KC + VC * i + j))
                    for r in range(ROWS):
                        p = cuda.shfl_sync(FULL, s[r, TOGETHER * i // 4], source)
                        for e in range(4):
                            o[r, 4 * j + e] += p * a[e]
            slot = slot + 1 if slot < AHEAD else 0
            step += WARPS

        for r in range(ROWS):
            l[r] += cuda.shfl_xor_sync(FULL, l[r], 8)
            l[r] += cuda.shfl_xor_sync(FULL, l[r], 16)
            if lane == 0:
                totals[warp, r, 0], totals[warp, r, 1] = m[r], NAN if bad else l[r]
            for i in range(4 * VC):
                if LANES <= 8:
                    o[r, i] += cuda.shfl_xor_sync(FULL, o[r, i], 8)
                if LANES <= 16:
                    o[r, i] += cuda.shfl_xor_sync(FULL, o[r, i], 16)
        cuda.syncwarp()
        for r in range(ROWS):
            for j in range(VC):
                column = 128 * j + 4 * (lane % LANES)
                if (lane < LANES) & (column < H):
                    e, place = 4 * j, warp * REGION + r * PITCH + column
                    ptx.store4_shared(queue, place, o[r, e], o[r, e + 1], o[r, e + 2], o[r, e + 3])
        write_part(queue, totals, partial, stats, first, here, part, H, REGION, PITCH, WARPS)

    return split


@functools.cache
def make_merge(H, slices):
    """The kernel that puts the parts of a row together: a block a row, a thread to 4 columns of
    every ``slices``-th part. Like a warp above it goes by the greatest score so far, so that it has
    to wait for memory only once."""
    ACROSS, SLICES = H // 4, slices

    @cuda.jit(launch_bounds=(slices * H // 4, 1), fastmath=False)
    def merge(partial, stats, lengths, out, lse, most):
        # partial (rows, parts, H), stats (rows, parts, 2), out (rows, H), lse (rows,)
        totals = cuda.shared.array((SLICES, 2), F32)
        sums = cuda.shared.array((SLICES, H), F32, alignment=16)
        thread, row, parts = cuda.threadIdx.x, cuda.blockIdx.x, partial.shape[1]
        part, column = thread // ACROSS, 4 * (thread % ACROSS)
        top, total = LOWEST, F32(0.0)
        a, b, c, d = F32(0.0), F32(0.0), F32(0.0), F32(0.0)
        for i in range(part, parts, SLICES):
            x = ptx.load4(partial, (row * parts + i) * H + column)
            new = max(top, stats[row, i, 0])
            old, w = ptx.exp2(top - new), ptx.exp2(stats[row, i, 0] - new)
            a, b, c, d = (
                a * old + w * x[0],
                b * old + w * x[1],
                c * old + w * x[2],
                d * old + w * x[3],
            )
            top, total = new, total * old + w * stats[row, i, 1]
        ptx.store4_shared(sums, part * H + column, a, b, c, d)
        if column == 0:
            totals[part, 0], totals[part, 1] = top, total
        cuda.syncthreads()

        top, total = LOWEST, F32(0.0)
        for i in range(SLICES):
            top = max(top, totals[i, 0])
        for i in range(SLICES):
            total += ptx.exp2(totals[i, 0] - top) * totals[i, 1]
        length = lengths[row // (lse.size // lengths.size)]
        if (length < 0) | (length > most):
            total = NAN  # no such length: better no answer than a wrong one
        share = F32(0.0) if total == F32(0.0) else F32(1.0) / total
        for i in range(thread, H, SLICES * ACROSS):
            x = F32(0.0)
            for j in range(SLICES):
                x += ptx.exp2(totals[j, 0] - top) * sums[j, i]
            out[row, i] = x * share
        if thread == 0:
            lse[row] = -INF if total == F32(0.0) else (top + ptx.log2(total)) * LN2

    return merge


def decode_attention(q, k, v, lengths, scale=None, parts=None, return_lse=False):
    """Attention of the newest tokens of each sequence over its keys and values so far.

    Args:
        q: queries (B, n_h, H), or (B, n_h, L, H) for the L newest tokens; the last sees all
            keys, the one before all but the last, and so on.
        k, v: a cache (B, n_kv, S, H) in the dtype of q; n_kv divides n_h, and query heads
            n_h / n_kv · i and following share head i.
        lengths: int32 (B,), 0 to S: how much of each sequence's cache counts. What lies behind is
            never used. A length outside makes the sequence's output NaN.
        scale: of the scores, a positive number; 1 / √H unless told. A score under −7e37
            counts as that of a key that may not be seen.
        parts: into how many parts to cut each sequence; chosen to fill the device unless told.
        return_lse: whether to give also the logarithm of the sum of the exponentials of the
            scores, float32, of q's shape without the last axis.

    Returns the output, an array like q, or (output, lse). Tokens that may see no key give zeros and
    −inf. The result is the same in each run. Raises TypeError or ValueError for what does not fit.
    """
    return _decode(q, k, v, lengths, None, scale, parts, return_lse)


def paged_decode_attention(q, k, v, table, lengths, scale=None, parts=None, return_lse=False):
    """The same over a cache in pages, which sequences take as they grow (Kwon et al., 2023).

    Args:
        k, v: pages (n_pages, n_kv, P, H) of P = 16, 32 or 64 tokens.
        table: int32 (B, max_pages): the pages of a sequence in order. Entries behind its length
            are not read; one that names no page makes the sequence's output NaN.
        q, lengths, scale, parts, return_lse: see ``decode_attention``.
    """
    return _decode(q, k, v, lengths, table, scale, parts, return_lse)


def _decode(q, k, v, lengths, table, scale, parts, return_lse):
    batch, n_kv, rows, tokens = _check(q, k, v, lengths, table, parts)
    H, return_lse = q.shape[-1], flag("return_lse", return_lse)
    scale = attention_scale(scale, H) * math.log2(math.e)
    out, lse = empty(q, q.shape), empty(q, q.shape[:-1], F32)
    if out.size == 0:
        return (out, lse) if return_lse else out
    page = 0 if table is None else k.shape[2]
    most = k.shape[2] if table is None else page * table.shape[1]
    split, tile, warps, shared = configured(q.dtype.name, H, rows, page, shared_bytes(q))
    tiles = ceil_div(rows, tile)
    if parts is None:
        parts = parts_for(batch * n_kv * tiles, most, warps, multiprocessors(q))
    partial = empty(q, (batch * n_kv * rows, parts, H), F32)
    stats = empty(q, (batch * n_kv * rows, parts, 2), F32)
    table = lengths.reshape(batch, 1) if table is None else table
    split[(parts * tiles, n_kv, batch), 32 * warps, None, shared](
        q.reshape(batch, n_kv, rows, H), k, v, lengths, table, partial, stats, tokens, parts, scale
    )
    merge = make_merge(H, SLICES)
    merge[batch * n_kv * rows, SLICES * H // 4](
        partial, stats, lengths, out.reshape(-1, H), lse.reshape(-1), most
    )
    return (out, lse) if return_lse else out


SLICES = 16


@functools.cache
def configured(dtype, H, rows, page, shared, warps=None, stages=None):
    """(the kernel, rows of a block, warps, bytes of dynamic shared memory) for a problem, on a
    device whose blocks may have ``shared`` bytes: one block on a multiprocessor, of 8 warps, or 4
    where rows are long, and as long a queue as finds room, up to 5 steps."""
    warps = warps or (8 if H <= 128 else 4)
    if dtype == "float32":
        tile = min(8 if H <= 128 else 4, 1 << (rows - 1).bit_length())
        lanes = min(32, 1 << (H // 4 - 1).bit_length())
        pieces = 2 * ceil_div(H, 32) + 8 * lanes // 32 * ceil_div(H, 128)
    else:
        tile, pieces = 8, 8 * ceil_div(H, 64)
    step = 512 * pieces * warps  # bytes
    stages = stages or max(2, min(5, (shared - 4096) // step))
    if dtype == "float32":
        split = make_split(H, tile, page, warps, stages)
    else:
        split = make_tensor_core_split(H, dtype == "bfloat16", page, warps, stages)
    return split, tile, warps, stages * step


@functools.cache
def parts_for(rows, most, warps, room):
    """Into how many parts to cut ``rows`` sequences of up to ``most`` keys, on a device with
    ``room`` for so many blocks: the fewest that fill it nearly as well as any number would, as long
    as each warp has two steps to do."""
    longest = max(1, min(MOST_PARTS, most // (2 * KEYS * warps)))
    full = [rows * parts / (room * ceil_div(rows * parts, room)) for parts in range(1, longest + 1)]
    return next(i for i, share in enumerate(full, 1) if share >= 0.95 * max(full))


def _check(q, k, v, lengths, table, parts):
    """(B, n_kv, rows that share a KV head, L) of arguments that fit together."""
    module = namespace(q=q, k=k, v=v, lengths=lengths, table=table)
    present(q=q)
    if q.ndim not in (3, 4):
        raise ValueError(f"q has shape {q.shape}; expected (B, n_h, H) or (B, n_h, L, H)")
    check("q", q, ("float16", "bfloat16", "float32"))
    batch, heads, H = q.shape[0], q.shape[1], q.shape[-1]
    tokens = q.shape[2] if q.ndim == 4 else 1
    if H not in WIDTHS:
        raise ValueError(f"q has heads of width {H}; expected {', '.join(map(str, WIDTHS))}")
    check("k", k, (q.dtype.name,), shape=(batch if table is None else None, None, None, H))
    check("v", v, (q.dtype.name,), shape=k.shape)
    n_kv = k.shape[1]
    if n_kv == 0 or heads % n_kv:
        raise ValueError(f"{heads} query heads do not share {n_kv} KV heads evenly")
    check("lengths", lengths, ("int32",), shape=(batch,))
    if table is not None:
        check("table", table, ("int32",), shape=(batch, None))
        if k.shape[2] not in PAGES:
            raise ValueError(f"pages of {k.shape[2]} tokens; expected {', '.join(map(str, PAGES))}")
    if parts is not None:
        integer("parts", parts, 1, MOST_PARTS)
    if module is np and lengths.size and not 0 <= lengths.min() <= lengths.max() <= _most(k, table):
        raise ValueError(
            f"lengths run from {lengths.min()} to {lengths.max()}; expected 0 to {_most(k, table)}"
        )
    return batch, n_kv, heads // n_kv * tokens, tokens


def _most(k, table):
    return k.shape[2] * (1 if table is None else table.shape[1])
