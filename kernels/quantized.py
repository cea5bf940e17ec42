"""Products with weights in 8 or 4 bits, for decoding: y = x W for one to eight rows x.

Two numbers first. A product with M rows reads each weight once and makes 2 M operations of it. At 4
bits an H100 reads 6e12 weights a second; one row then asks for only 12 TFLOP/s. But to take a
weight out of its word, make a float of it, scale it and add it up by ordinary instructions would
take about 5 of them, and 3e13 a second is all that the chip issues. So

- the products go to the tensor cores, weights as the 16 rows of an mma and rows of x as its 8
  columns: M = 1 costs as much as 8, and little;
- an integer becomes a float by two instructions for two of them, a mask and an fma;
- within a group the sum is over whole numbers; the scale comes once a group and row;
- weights, scales and x come through a queue in shared memory that asynchronous copies fill.

The layout of the 4-bit numbers is that of the blocks of GGUF files (Q4_0, Q4_1; 8 bits: Q8_0):
32 numbers along the input axis in 16 bytes, the first 16 in the low halves, the others in the high
ones; scales and minima stand apart, for a 16-byte load wants to begin on a boundary. A lane takes
4 bytes of a block, so it has inputs 4t to 4t + 3 and 16 + 4t to 16 + 4t + 3; it takes the same ones
of x, and the order of summands is nobody's business.

float32 inputs are split into three bfloat16 that add up to them exactly: three products, one
reading of the weights.
"""

import functools
from typing import NamedTuple

import numpy as np

from kernels import cuda, ptx
from kernels._host import (
    ceil_div,
    check,
    empty,
    flag,
    integer,
    multiprocessors,
    namespace,
    shared_bytes,
)

F32, U32, I64 = np.float32, np.uint32, np.int64
MOST_ROWS = 8
GROUPS = 32, 64, 128
_WAIT = {2: ptx.cp_async_wait0, 3: ptx.cp_async_wait1, 4: ptx.cp_async_wait2, 5: ptx.cp_async_wait3}
_KINDS = {"Q4_0": (18, 4, False), "Q4_1": (20, 4, True), "Q8_0": (34, 8, False)}


class QuantizedWeight(NamedTuple):
    """A matrix W (K inputs, N outputs) in few bits: W[k, n] = scale · q + minimum.

    values: q, an output's inputs in a row: int8 (N, K), or uint8 (N, K / 2) with two numbers to a
        byte, see above; without minima these mean −8 to 7, stored 8 higher.
    scales: float16 (K / group, N); (1, N) is one for all inputs of an output.
    minima: float16 like scales, or None.
    """

    values: object
    scales: object
    minima: object = None

    @property
    def bits(self):
        return 8 if self.values.dtype == np.int8 else 4

    @property
    def shape(self):
        rows, nbytes = self.values.shape
        return nbytes * 8 // self.bits, rows

    @property
    def nbytes(self):
        """Bytes that a product has to read."""
        return sum(part.nbytes for part in self if part is not None)


def quantize(w, bits=8, group=None, minima=False):
    """Round a matrix to few bits.

    Args:
        w: floats (K, N), K a multiple of 32 and N of 8.
        bits: 8 or 4.
        group: how many inputs share a scale: 32, 64 or 128; None for all of them.
        minima: whether 4-bit numbers are 0 to 15 above their group's minimum; else they are −8 to
            7 times the scale.

    The scale is rounded to float16 first and the numbers to that; scales under 6e-5 have fewer
    digits there, and a group whose weights are all under 3.7e-6 (8 bits) or 2.3e-7 (4 bits) becomes
    zeros. Raises TypeError and ValueError for what does not fit.
    """
    module, minima = namespace(w=w), flag("minima", minima)
    if w.dtype.kind != "f" and w.dtype.name != "bfloat16":
        raise TypeError(f"w is {w.dtype.name}; expected floats")
    if w.ndim != 2 or w.shape[0] % 32 or w.shape[1] % 8 or not w.shape[0]:
        raise ValueError(f"w has shape {w.shape}; expected (a multiple of 32, a multiple of 8)")
    bits, alone = integer("bits", bits), bits == 8 or group is None
    if bits not in (4, 8) or group not in (*GROUPS, None) or (minima and alone):
        raise ValueError(f"bits {bits}, group {group}, minima {minima}: there is no such kind")
    K, N = w.shape
    group = K if group is None else integer("group", group)
    if K % group:
        raise ValueError(f"groups of {group} do not divide {K} inputs")
    w = module.ascontiguousarray(w.T, np.float32).reshape(N, K // group, group)
    low, high = w.min(-1), w.max(-1)
    if bits == 8:
        scale = module.maximum(-low, high) / 127
    elif minima:
        scale = (high - low) / 15
    else:  # the greater end becomes −8, as in Q4_0
        scale = module.where(-low > high, low, high) / -8
    with np.errstate(over="ignore"):  # what is too large is reported below
        scale = scale.astype(np.float16)
        least = low.astype(np.float16) if minima else None
    if not bool(module.isfinite(scale).all()) or (
        minima and not bool(module.isfinite(least).all())
    ):
        raise ValueError("a weight is not finite, or too large for a float16 scale")
    step = module.where(scale == 0, 1, scale).astype(np.float32)[..., None]
    q = module.rint((w if least is None else w - least.astype(np.float32)[..., None]) / step)
    q = q.clip(*{8: (-127, 127), 4: (0, 15) if minima else (-8, 7)}[bits]).reshape(N, K)
    values = q.astype(np.int8) if bits == 8 else _packed(q.astype(np.int8) + (0 if minima else 8))
    back = lambda x: None if x is None else module.ascontiguousarray(x.T)
    return QuantizedWeight(values, back(scale), back(least))


def _packed(q):
    """Numbers 0 to 15 (N, K) two to a byte."""
    N, K = q.shape
    blocks = q.astype(np.uint8).reshape(N, K // 32, 2, 16)
    return (blocks[:, :, 0] | blocks[:, :, 1] << 4).reshape(N, K // 2)


def integers(weight):
    """The whole numbers (K, N) of a weight, int8."""
    module, q = namespace(values=weight.values), weight.values
    if weight.bits == 4:
        N, nbytes = q.shape
        blocks = q.reshape(N, nbytes // 16, 1, 16)
        q = module.concatenate([blocks & 15, blocks >> 4], axis=2).reshape(N, 2 * nbytes)
        q = q.astype(np.int8) - (8 if weight.minima is None else 0)
    return q.T


def dequantize(weight):
    """The matrix (K, N) that a weight stands for, float32. Raises TypeError and ValueError."""
    _group(weight)
    spread = weight.shape[0] // len(weight.scales)
    w = integers(weight) * weight.scales.astype(np.float32).repeat(spread, axis=0)
    if weight.minima is not None:
        w += weight.minima.astype(np.float32).repeat(spread, axis=0)
    return w


def from_gguf(raw, kind):
    """The weight in the blocks of a GGUF file, without rounding again: bytes are only moved.

    Args:
        raw: uint8 (N, bytes of a row), a row the blocks of one output.
        kind: "Q4_0", "Q4_1" or "Q8_0".
    """
    module = namespace(raw=raw)
    if kind not in _KINDS:
        raise ValueError(f"{kind} has no product here; expected {', '.join(_KINDS)}")
    nbytes, bits, minima = _KINDS[kind]
    if raw.dtype != np.uint8 or raw.ndim != 2 or raw.shape[1] % nbytes:
        raise ValueError(f"raw is {raw.dtype} {raw.shape}; expected uint8 (N, {nbytes} · blocks)")
    N, number = len(raw), raw.shape[1] // nbytes
    blocks = raw.reshape(N, number, nbytes)
    head = 4 if minima else 2
    floats = module.ascontiguousarray(blocks[:, :, :head]).view(np.float16)  # (N, blocks, 1 or 2)
    values = module.ascontiguousarray(blocks[:, :, head:]).reshape(N, number * (nbytes - head))
    scales = [module.ascontiguousarray(floats[:, :, i].T) for i in range(head // 2)]
    return QuantizedWeight(values.view(np.int8) if bits == 8 else values, *scales)


# A 16-bit float with an exponent of 0 is its mantissa times the smallest step there is, and so are
# those with an exponent of 1: the bits of a whole number are that number of steps. One fma makes a
# number of them, q times ``unit``, and takes the shift by 8 or 128 away. As words of two:
_UNITS = {"float16": 2.0**-9, "bfloat16": 2.0**-6}
_ONES = {"float16": 0x18001800, "bfloat16": 0x3C803C80}  # 1 unit
_STEPS = {"float16": (0x78007800, 0x68006800), "bfloat16": (0x7F007F00, 0x7D007D00)}  # and a 16th
_LESS = {"float16": {0: 0, 8: 0xA400A400, 128: 0xB400B400},
         "bfloat16": {0: 0, 8: 0xBE00BE00, 128: 0xC000C000}}  # fmt: skip


@cuda.jit(device=True)
def half_of(word, upper):
    """One of the two float16 of a word, as float32."""
    return ptx.unpack_f16(word >> U32(16 * upper))[0]


def _room(shared, step, sums, stages):
    """(blocks of a multiprocessor, steps in a queue) for ``shared`` bytes, of which a block takes
    ``step`` for each step and ``sums`` besides: two blocks if their queues have room for two steps,
    and up to 4 steps."""
    for blocks in (2, 1):
        most = (shared // blocks - sums - 1024) // step
        if min(most, 4) >= (stages or 2):
            return blocks, stages or min(most, 4)
    raise ValueError(
        f"a step of {step:,} bytes twice and {sums:,} do not fit into {shared:,} bytes"
    )


@functools.cache
def make_product(dtype, bits, group, minima, rows, shared, tiles, warps, stages=None):
    """(the kernel for x of a dtype with up to ``rows`` rows (a power of 2), the bytes of dynamic
    shared memory that it needs), for a device whose blocks may have ``shared`` bytes. A block makes
    16 · tiles outputs; its warps share the inputs, a step being 128 bytes of each output's weights.
    """
    STEP = 1024 // bits  # inputs
    GROUP, SCALES = group, STEP // group if group else 0  # scales of an output in a step
    BLOCKS = group // 32 if group else 4  # blocks that a sum runs over, at most
    PARTS = 3 if dtype == "float32" else 1
    X_WORDS = 1 if dtype == "float32" else 2  # numbers of x in a word
    # Rows of shared memory lie as far apart as lets those that are read together miss each other's
    # banks: 4 words of each of 8 outputs' weights, 8 or 16 words of each of up to 8 rows of x.
    PITCH, X_PITCH = 36, (STEP + 16) // X_WORDS  # words
    X_PIECES = STEP // X_WORDS // 4  # of 16 bytes
    SCALES_AT = 16 * PITCH * tiles
    MINIMA_AT = SCALES_AT + 8 * tiles * SCALES
    X_AT = MINIMA_AT + (8 * tiles * SCALES if minima else 0)
    SLOT = X_AT + rows * X_PITCH
    blocks, stages = _room(shared, 4 * SLOT * warps, 512 * tiles * warps, stages)
    ROWS, TILES, WARPS, AHEAD, MINIMA = rows, tiles, warps, stages - 1, minima
    BITS, OUTPUTS, WORDS = bits, 16 * tiles, bits  # words of a block
    SCALE_COPIES, X_COPIES = ceil_div(2 * tiles * SCALES, 32), ceil_div(rows * X_PIECES, 32)
    kind = "float16" if dtype == "float16" else "bfloat16"
    ONE, (FULL, SIXTEENTH), UNIT = _ONES[kind], _STEPS[kind], _UNITS[kind]
    LESS = _LESS[kind][128 if bits == 8 else 0 if minima else 8]
    mma, fma = (ptx.mma_f16, ptx.fma_f16x2) if kind == "float16" else (ptx.mma_bf16, ptx.fma_bf16x2)
    cp_async_wait = _WAIT[stages]

    @cuda.jit(device=True)
    def nibbles(word):
        """The numbers in a word of eight: in the low halves of its first and third byte, of its
        second and fourth, in the high halves of its first and third, of its second and fourth."""
        full, sixteenth, less, other = U32(FULL), U32(SIXTEENTH), U32(LESS), word >> U32(8)
        return (
            fma(word & U32(0x000F000F), full, less),
            fma(other & U32(0x000F000F), full, less),
            fma(word & U32(0x00F000F0), sixteenth, less),
            fma(other & U32(0x00F000F0), sixteenth, less),
        )

    @cuda.jit(device=True)
    def octets(word):
        """The int8 in a word: in its first and third byte, in its second and fourth."""
        full, less, word = U32(FULL), U32(LESS), word ^ U32(0x80808080)  # q + 128
        return (
            fma(word & U32(0x00FF00FF), full, less),
            fma((word >> U32(8)) & U32(0x00FF00FF), full, less),
        )

    @cuda.jit(device=True)
    def fetch(queue, at, step, x, values, scales, least, first, origins):
        """Begin to copy a step into the words from ``at`` on; zeros beyond every edge."""
        lane, M, K, N = cuda.laneid, x.shape[0], x.shape[1], values.shape[0]
        count = U32(16) if 128 * step + 16 * (lane % 8) < values.shape[1] else U32(0)
        for i in range(4 * TILES):  # weights: 4 outputs at a time, 8 pieces each
            to = at + PITCH * (4 * i + lane // 8) + 4 * (lane % 8)
            ptx.cp_async16(queue, to, values, origins[i] + 128 * step, count)
        if GROUP:
            for i in range(SCALE_COPIES):
                piece = 32 * i + lane
                n, number = 8 * (piece % (2 * TILES)), piece // (2 * TILES)
                inside = (first + n < N) & (SCALES * step + number < K // GROUP)
                if piece < 2 * TILES * SCALES:
                    source, to = (SCALES * step + number) * N + first + n, at + 4 * piece
                    count = U32(16) if inside else U32(0)
                    ptx.cp_async16(queue, to + SCALES_AT, scales, source, count)
                    if MINIMA:
                        ptx.cp_async16(queue, to + MINIMA_AT, least, source, count)
        for i in range(X_COPIES):
            piece = 32 * i + lane
            m, k = piece // X_PIECES, 4 * X_WORDS * (piece % X_PIECES)
            inside = (m < M) & (STEP * step + k < K)
            if piece < ROWS * X_PIECES:
                to = at + X_AT + X_PITCH * m + 4 * (piece % X_PIECES)
                source = m * K + STEP * step + k
                ptx.cp_async16(queue, to, x, source, U32(16) if inside else U32(0))

    @cuda.jit(device=True)
    def load_x(queue, at, b, half):
        """Four inputs of x from the place ``at`` on, as mma takes them: 0 and 2, 1 and 3."""
        if PARTS == 1:
            w = ptx.load_two_words_shared(queue, at)
            b[0, 2 * half] = ptx.pick_bytes(w[0], w[1], 0x5410)
            b[0, 2 * half + 1] = ptx.pick_bytes(w[0], w[1], 0x7632)
        else:
            w0, w1, w2, w3 = ptx.load_words_shared(queue, at)
            for p in cuda.unroll(PARTS):  # the upper half of a float32 is a bfloat16
                b[p, 2 * half] = ptx.pick_bytes(w0, w2, 0x7632)
                b[p, 2 * half + 1] = ptx.pick_bytes(w1, w3, 0x7632)
                w0, w1, w2, w3 = rest(w0), rest(w1), rest(w2), rest(w3)

    @cuda.jit(device=True)
    def add(sums, a0, c0, a1, c1, a2, c2, a3, c3, b):
        """Two mma: 32 inputs of 16 outputs."""
        s0, s1, s2, s3 = sums
        for p in cuda.unroll(PARTS):
            s0, s1, s2, s3 = mma(a0, c0, a1, c1, b[p, 0], b[p, 1], s0, s1, s2, s3)
            s0, s1, s2, s3 = mma(a2, c2, a3, c3, b[p, 2], b[p, 3], s0, s1, s2, s3)
        return s0, s1, s2, s3

    @cuda.jit(device=True)
    def add_block(queue, at, b, part, tile):
        """Add the products of a block of weights from the place ``at`` on."""
        low = ptx.load_word_shared(queue, at)  # of output g
        high = ptx.load_word_shared(queue, at + 8 * PITCH)  # of output g + 8
        if BITS == 4:
            a0, a1, a2, a3 = nibbles(low)
            c0, c1, c2, c3 = nibbles(high)
        else:
            a0, a1 = octets(low)
            c0, c1 = octets(high)
            a2, a3 = octets(ptx.load_word_shared(queue, at + 4))
            c2, c3 = octets(ptx.load_word_shared(queue, at + 8 * PITCH + 4))
        sums = part[tile, 0], part[tile, 1], part[tile, 2], part[tile, 3]
        sums = add(sums, a0, c0, a1, c1, a2, c2, a3, c3, b)
        part[tile, 0], part[tile, 1], part[tile, 2], part[tile, 3] = sums

    @cuda.jit(device=True)
    def add_group(queue, at, total, part, tile, s0, s1):
        """Add a group's sums, its scales being at the place ``at``."""
        g = cuda.laneid // 4
        low = half_of(ptx.load_word_shared(queue, at + SCALES_AT + g // 2), g % 2)
        high = half_of(ptx.load_word_shared(queue, at + SCALES_AT + g // 2 + 4), g % 2)
        total[tile, 0] += low * part[tile, 0]
        total[tile, 1] += low * part[tile, 1]
        total[tile, 2] += high * part[tile, 2]
        total[tile, 3] += high * part[tile, 3]
        if MINIMA:
            low = half_of(ptx.load_word_shared(queue, at + MINIMA_AT + g // 2), g % 2)
            high = half_of(ptx.load_word_shared(queue, at + MINIMA_AT + g // 2 + 4), g % 2)
            total[tile, 0] += low * s0
            total[tile, 1] += low * s1
            total[tile, 2] += high * s0
            total[tile, 3] += high * s1
        part[tile, 0], part[tile, 1] = F32(0.0), F32(0.0)
        part[tile, 2], part[tile, 3] = F32(0.0), F32(0.0)

    @cuda.jit(launch_bounds=(32 * warps, blocks), fastmath=False)
    def product(x, values, scales, least, y):
        # x, y (M, K), (M, N); values (N, K · bits / 8); scales and least (K / group, N)
        queue = cuda.shared.array(0, U32, alignment=16)
        sums = cuda.shared.array((WARPS, OUTPUTS, 8), F32)
        total = cuda.local.array((TILES, 4), F32)
        part = cuda.local.array((TILES, 4), F32)
        b = cuda.local.array((PARTS, 4), U32)
        origins = cuda.local.array(4 * TILES, I64)
        warp, lane = cuda.threadIdx.x // 32, cuda.laneid
        g, t = lane // 4, lane % 4
        M, K, N = x.shape[0], x.shape[1], values.shape[0]
        first, one = cuda.blockIdx.x * OUTPUTS, U32(ONE)
        steps = (K + STEP - 1) // STEP
        mine = warp * (AHEAD + 1) * SLOT
        for i in range(4 * TILES):  # nobody asks for outputs from N on, so let them be any
            origins[i] = min(first + 4 * i + lane // 8, N - 1) * values.shape[1] + 16 * (lane % 8)
        for i in range(AHEAD):
            step = warp + i * WARPS
            if step < steps:
                fetch(queue, mine + i * SLOT, step, x, values, scales, least, first, origins)
            ptx.cp_async_commit()
        for tile in range(TILES):
            for i in range(4):
                total[tile, i], part[tile, i] = F32(0.0), F32(0.0)
        slot = 0
        for step in range(warp, steps, WARPS):
            cp_async_wait()
            cuda.syncwarp()  # the step is there, and nobody reads the one before any more
            ahead = step + AHEAD * WARPS
            if ahead < steps:
                to = mine + (slot - 1 if slot > 0 else AHEAD) * SLOT
                fetch(queue, to, ahead, x, values, scales, least, first, origins)
            ptx.cp_async_commit()
            at = mine + slot * SLOT
            slot = slot + 1 if slot < AHEAD else 0
            # Where x has fewer rows than 8, columns of mma repeat.
            x_at = at + X_AT + X_PITCH * (g % ROWS) + 4 // X_WORDS * t
            w_at = at + PITCH * g + t
            s0, s1, s2, s3 = F32(0.0), F32(0.0), F32(0.0), F32(0.0)  # sums of x over the group
            for quarter in range(STEP // 128):
                for block in cuda.unroll(4):
                    for half in cuda.unroll(2):
                        place = 128 // X_WORDS * quarter + (32 * block + 16 * half) // X_WORDS
                        load_x(queue, x_at + place, b, half)
                    for tile in cuda.unroll(TILES):
                        place = 16 * PITCH * tile + WORDS * (4 * quarter + block)
                        add_block(queue, w_at + place, b, part, tile)
                    if MINIMA:  # a matrix of ones adds x up, and has the sums where they are needed
                        s0, s1, s2, s3 = add(
                            (s0, s1, s2, s3), one, one, one, one, one, one, one, one, b
                        )
                    if GROUP and block % BLOCKS == BLOCKS - 1:
                        number = SCALES * 128 // STEP * quarter + block // BLOCKS
                        for tile in cuda.unroll(TILES):
                            place = at + 8 * (TILES * number + tile)
                            add_group(queue, place, total, part, tile, s0, s1)
                        s0, s1, s2, s3 = F32(0.0), F32(0.0), F32(0.0), F32(0.0)

        for tile in cuda.unroll(TILES):
            for i in cuda.unroll(4):
                value = total[tile, i] if GROUP else part[tile, i]
                sums[warp, 16 * tile + g + 8 * (i // 2), 2 * t + i % 2] = value
        cuda.syncthreads()
        for i in range(cuda.threadIdx.x, M * OUTPUTS, 32 * WARPS):
            m, n = i // OUTPUTS, i % OUTPUTS
            if first + n < N:
                value = F32(0.0)
                for w in range(WARPS):
                    value += sums[w, n, m]
                if GROUP is None:
                    value *= F32(scales[0, first + n])
                y[m, first + n] = value * F32(1 / UNIT)

    return product, 4 * warps * stages * SLOT


@cuda.jit(device=True)
def rest(word):
    """The bits of what the upper half of a float32 leaves of it."""
    return ptx.bits_of(ptx.float_of(word) - ptx.float_of(word & U32(0xFFFF0000)))


def quantized_matmul(x, weight, tiles=None, warps=8, stages=None):
    """x W for a few rows and a weight in few bits.

    Args:
        x: (…, K) float16, bfloat16 or float32, with 1 to 8 rows in all.
        weight: a QuantizedWeight of shape (K, N), on the same device.
        tiles, warps, stages: how the kernel goes about it; see ``make_product``.

    Returns (…, N) in x's dtype, summed in float32. Raises TypeError or ValueError for what does not
    fit.
    """
    group = _check(x, weight)
    K, N = weight.shape
    warps = integer("warps", warps, 1, 32)
    if tiles is not None:
        integer("tiles", tiles, 1)
    if stages is not None:
        integer("stages", stages, min(_WAIT), max(_WAIT))
    y = empty(x, (*x.shape[:-1], N))
    if y.size == 0:
        return y
    x = x.reshape(-1, K)
    rows = 1 << (len(x) - 1).bit_length()
    minima = weight.minima is not None
    tiles = tiles or (2 if 64 * multiprocessors(x) <= N else 1)
    kernel, shared = make_product(
        x.dtype.name, weight.bits, group, minima, rows, shared_bytes(x), tiles, warps, stages
    )
    least = weight.minima if minima else weight.scales
    kernel[ceil_div(N, 16 * tiles), 32 * warps, None, shared](
        x, weight.values, weight.scales, least, y.reshape(-1, N)
    )
    return y


def _check(x, weight):
    """The group of a weight that x can be multiplied by; None if there is one scale an output."""
    group = _group(weight)
    namespace(x=x, values=weight.values)
    check("x", x, ("float16", "bfloat16", "float32"))
    K, N = weight.shape
    if K % 32 or N % 8:
        raise ValueError(f"the weight has shape {(K, N)}; expected multiples of 32 and of 8")
    if x.ndim == 0 or x.shape[-1] != K:
        raise ValueError(
            f"x has shape {x.shape}, the weight {(K, N)} of {weight.bits} bits: the inputs differ"
        )
    if x.size > MOST_ROWS * K:
        raise ValueError(f"x has {x.size // K} rows; a quantized product is for 1 to {MOST_ROWS}")
    return group


def _group(weight):
    """The same of a weight whose arrays fit each other. Raises TypeError and ValueError."""
    if not isinstance(weight, QuantizedWeight):
        raise TypeError(f"weight is {type(weight).__name__}; expected a QuantizedWeight")
    values, scales, minima = weight
    namespace(values=values, scales=scales, minima=minima)
    check("values", values, ("int8", "uint8"), ndim=2)
    K, N = weight.shape
    check("scales", scales, ("float16",), shape=(None, N))
    if K == 0:
        raise ValueError(f"the weight has shape {(K, N)}; expected at least one input")
    group = K // max(len(scales), 1)
    if len(scales) != 1 and (group not in GROUPS or group * len(scales) != K):
        raise ValueError(
            f"{len(scales)} scales for {K} inputs; expected 1, or one for each 32, 64 or 128"
        )
    if minima is not None:
        check("minima", minima, ("float16",), shape=scales.shape)
        if weight.bits == 8 or group not in GROUPS:
            raise ValueError("minima are for 4-bit numbers in groups")
    return group if group in GROUPS else None
