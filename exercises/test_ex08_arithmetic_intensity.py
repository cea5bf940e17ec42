"""Tests of exercise 08: arithmetic intensity and the roofline."""

import operator

import numpy as np

from minigrad.course.testing import expect

#: machines: (peak in FLOP/s, bandwidth in bytes/s)
H100_FP16, H100_FP32, A100_FP32 = (989e12, 3.35e12), (67e12, 3.35e12), (19.5e12, 1.555e12)


INTEGER = "the value is right, but it is to be an integer: int(…), or -(-a // b) to round up"


def explaining(slips, cases, got):
    """Those of the slips, (words, function of a case), that give every answer that was got."""
    gives = lambda slip: all(np.array_equal(slip(*case), each) for case, each in zip(cases, got))
    return [(words, slip) for words, slip in slips if gives(slip)]


def check_all(function, cases, right, slips):
    """Ask every case first: a single wrong answer of so few says little about its cause."""
    named = explaining(slips, cases, [function(*case) for case in cases])
    for case in cases:
        wrong = {words: slip(*case) for words, slip in named}
        if type(right(*case)) is int:
            wrong[INTEGER] = float(right(*case))
        expect(function(*case), right(*case), wrong)


def slips_of_cost(M, N, K, itemsize):
    flops, numbers = 2 * M * N * K, M * K + K * N + M * N
    return {
        "a multiplication and an addition are 2 FLOP, not 1": (flops // 2, itemsize * numbers),
        "numbers are counted, not their bytes": (flops, numbers),
        "the first product is added to 0, which counts: K additions, not K − 1": (
            flops - M * N,
            itemsize * numbers,
        ),
        "the bytes of C are not counted": (flops, itemsize * (numbers - M * N)),
        "C is only written, not read as well": (flops, itemsize * (numbers + M * N)),
        "A and B are counted as if they were read for each number of C": (
            flops,
            itemsize * (2 * M * N * K + M * N),
        ),
    }


def test_cost_of_a_small_product_by_hand(answer):
    expect(answer.matmul_cost(2, 3, 4, 4), (48, 104), slips_of_cost(2, 3, 4, 4))


def test_cost_of_products_counted_one_by_one(answer):
    for M, N, K, itemsize in ((5, 2, 3, 2), (1, 7, 4, 4), (6, 1, 2, 8), (3, 3, 1, 4)):
        flops = sum(2 for i in range(M) for j in range(N) for k in range(K))
        numbers = len({(i, k) for i in range(M) for k in range(K)})
        numbers += len({(k, j) for j in range(N) for k in range(K)})
        numbers += len({(i, j) for i in range(M) for j in range(N)})
        slips = slips_of_cost(M, N, K, itemsize)
        expect(answer.matmul_cost(M, N, K, itemsize), (flops, numbers * itemsize), slips)


def by_tiles(M, N, K, T, itemsize):
    """Tile after tile, the numbers that it touches."""
    numbers = 0
    for top in range(0, M, T):
        for left in range(0, N, T):
            height, width = len(range(M)[top : top + T]), len(range(N)[left : left + T])
            numbers += height * K + K * width + height * width
    return numbers * itemsize


def slips_of_tiles(M, N, K, T, itemsize):
    across, down, floor = -(-N // T), -(-M // T), max(M // T, 1) * max(N // T, 1)
    return {
        "each number of A and B is counted once; every tile reads its own": (
            itemsize * (M * K + K * N + M * N)
        ),
        "A is read once for each tile along M, B along N: it is the other way round": (
            itemsize * (M * K * down + K * N * across + M * N)
        ),
        "the tiles at the edges are counted as if they were full": (
            itemsize * (across * down * 2 * T * K + M * N)
        ),
        "the tiles at the edges are left out": itemsize * (floor * 2 * T * K + M * N),
        "2·M·N·K / T holds only where T divides M and N": itemsize * (2 * M * N * K // T + M * N),
        "2·M·N·K / T holds only where T divides M and N, and bytes are an integer": (
            itemsize * (2 * M * N * K / T + M * N)
        ),
        "A is counted once; every column of tiles reads it anew": (
            itemsize * (M * K + K * N * down + M * N)
        ),
        "B is counted once; every row of tiles reads it anew": (
            itemsize * (M * K * across + K * N + M * N)
        ),
        "the number of tiles is not rounded up": (
            itemsize * (M * K * (N // T) + K * N * (M // T) + M * N)
        ),
        "the bytes of C are not counted": itemsize * (M * K * across + K * N * down),
        "numbers are counted, not their bytes": M * K * across + K * N * down + M * N,
        INTEGER: float(itemsize * (M * K * across + K * N * down + M * N)),
    }


def test_bytes_of_six_tiles_by_hand(answer):
    # three columns of tiles read A, two rows of tiles read B: 3 · 10 + 2 · 16 + 40 numbers
    expect(answer.tiled_bytes(5, 8, 2, 3, 4), 408, slips_of_tiles(5, 8, 2, 3, 4))


def test_bytes_of_tiles_counted_one_by_one(answer):
    for sizes in ((6, 10, 3, 4, 4), (7, 5, 2, 3, 2), (4, 8, 3, 4, 4), (9, 2, 5, 4, 8)):
        expect(answer.tiled_bytes(*sizes), by_tiles(*sizes), slips_of_tiles(*sizes))


def test_tiles_of_one_and_of_everything_are_no_reuse_and_all_reuse(answer):
    expect(answer.tiled_bytes(5, 4, 3, 1, 4), 4 * (2 * 60 + 20), slips_of_tiles(5, 4, 3, 1, 4))
    expect(answer.tiled_bytes(5, 4, 3, 8, 4), 4 * (15 + 12 + 20), slips_of_tiles(5, 4, 3, 8, 4))


def longer(flops, nbytes, peak, bandwidth):
    seconds = {"memory": nbytes / bandwidth, "math": flops / peak}
    return max(seconds, key=seconds.get)  # the first, if both are the same


def limited_by(is_math):
    return lambda *case: "math" if is_math(*case) else "memory"


ROUNDED = "the ratios are rounded, and a fraction may decide"
SLIPS_OF_LIMIT = [
    (
        "it is the other way round: what takes longer is the limit",
        limited_by(lambda f, n, peak, bandwidth: f / peak <= n / bandwidth),
    ),
    (
        "both take equally long: that counts as memory-limited",
        limited_by(lambda f, n, peak, bandwidth: f / peak >= n / bandwidth),
    ),
    (
        "FLOP are compared with bytes; compare the seconds that they take",
        limited_by(lambda f, n, peak, bandwidth: f > n),
    ),
    (ROUNDED, limited_by(lambda f, n, peak, bandwidth: f // n > peak // bandwidth)),
    (ROUNDED, limited_by(lambda f, n, peak, bandwidth: f / n > int(peak / bandwidth))),
    (ROUNDED, limited_by(lambda f, n, peak, bandwidth: round(f / n) > round(peak / bandwidth))),
]


def test_limits_by_hand(answer):
    cases = (
        (100, 10, 20.0, 1.0),  # 5 s of arithmetic, 10 s of memory
        (300, 10, 20.0, 1.0),  # 15 s of arithmetic, 10 s of memory
        (10, 20, 1.0, 4.0),  # 10 s of arithmetic, 5 s of memory
    )
    right = dict(zip(cases, ("memory", "math", "math")))
    check_all(answer.limit, cases, lambda *case: right[case], SLIPS_OF_LIMIT)


def test_limits_of_real_work_on_real_machines(answer):
    n = 4096
    small = 2 * 64**3, 4 * 3 * 64 * 64
    cases = [
        (2 * n**3, 2 * 3 * n * n, *H100_FP16),  # a product in float16
        (2 * n * n, 2 * (n * n + 2 * n), *H100_FP16),  # matrix by vector
        (5 * n * n, 4 * 2 * n * n, *A100_FP32),  # a softmax
        (*small, 1e12, 1e11),
        (*small, 1.1e12, 1e11),
        (52, 10, 54.0, 10.0),  # 5.2 FLOP for a byte, 5.4 of the machine
        (54, 10, 52.0, 10.0),
        (40, 8, 20.0, 4.0),  # as long: the arithmetic is not longer
    ]
    check_all(answer.limit, cases, longer, SLIPS_OF_LIMIT)


def slips_of_roof(intensity, peak, bandwidth):
    return {
        "the flat part of the roof is missing": bandwidth * intensity,
        "the slope of the roof is missing": np.full(intensity.shape, peak),
        "the higher of the two is taken, and the lower is the limit": np.maximum(
            peak, bandwidth * intensity
        ),
        "the bandwidth is divided by the intensity": np.minimum(peak, bandwidth / intensity),
    }


def test_a_roof_by_hand(answer):
    x = np.array([1.0, 2.0, 5.0, 8.0])
    expect(answer.attainable(x, 20.0, 4.0), np.array([4.0, 8, 20, 20]), slips_of_roof(x, 20.0, 4.0))


def test_roofs_of_real_machines(answer, rng):
    for peak, bandwidth in (H100_FP16, H100_FP32, A100_FP32):
        x = np.exp(rng.uniform(-3, 8, 12))
        x[:2] = 0.01 * peak / bandwidth, 100 * peak / bandwidth
        want = [peak if each * bandwidth > peak else each * bandwidth for each in x.tolist()]
        expect(
            answer.attainable(x, peak, bandwidth), np.array(want), slips_of_roof(x, peak, bandwidth)
        )


def by_seconds(peak, bandwidth, itemsize):
    steps, T = 10_000, 1  # steps of k, so many that C does not matter
    while 2 * T * T * steps / peak <= 2 * T * steps * itemsize / bandwidth:
        T += T
    return T


def tile(intensity, first=1, ratio=operator.truediv, waits=operator.le, grow=lambda T: 2 * T):
    """The search for a tile with one of its parts exchanged; ``intensity`` is of (T, itemsize)."""

    def search(peak, bandwidth, itemsize):
        T = first
        while waits(intensity(T, itemsize), ratio(peak, bandwidth)):
            T = grow(T)
        return T

    return search


def right_intensity(T, itemsize):
    return T / itemsize


SLIPS_OF_TILE = [
    (
        "a tile whose ratio only equals the machine's is still memory-limited",
        tile(right_intensity, waits=operator.lt),
    ),
    (
        "one step too small: it is the largest tile that is still memory-limited, or only T of the "
        "2·T numbers are counted",
        tile(lambda T, itemsize: 2 * T / itemsize),
    ),
    (
        "one step too large, as with 1 FLOP for a multiplication and an addition, or with more "
        "than 2·T numbers of itemsize bytes",
        tile(lambda T, itemsize: T / 2 / itemsize),
    ),
    ("T may be 1", tile(right_intensity, first=2)),
    ("the bytes of a number are forgotten", tile(lambda T, itemsize: T)),
    (
        "itemsize is not looked at: T / 4 holds for numbers of 4 bytes",
        tile(lambda T, itemsize: T / 4),
    ),
    (
        "itemsize is not looked at: T / 2 holds for numbers of 2 bytes",
        tile(lambda T, itemsize: T / 2),
    ),
    (
        "the bytes of C are counted, too, which do not matter in a large product",
        tile(lambda T, itemsize: 2 * T / 3 / itemsize),
    ),
    ("the machine's ratio is rounded", tile(right_intensity, ratio=operator.floordiv)),
    ("T is to be a power of two", tile(right_intensity, grow=lambda T: T + 1)),
]


def test_smallest_tile_by_hand(answer):
    # 5 FLOP for a byte. Of numbers of 4 bytes, tiles of 16 have 16 / 4 = 4, tiles of 32 have 8.
    right = {(20.0, 4.0, 4): 32, (20.0, 4.0, 1): 8}
    check_all(answer.smallest_tile, list(right), lambda *case: right[case], SLIPS_OF_TILE)


def test_smallest_tile_of_real_machines(answer):
    cases = [
        (*H100_FP16, 2),
        (*H100_FP32, 4),
        (*A100_FP32, 4),
        (16.0, 4.0, 2),  # tiles of 8 have just the machine's ratio: not enough
        (3.0, 4.0, 2),
        (3.0, 4.0, 1),
        (1.3e15, 1e12, 1),
    ]
    check_all(answer.smallest_tile, cases, by_seconds, SLIPS_OF_TILE)


def check_step(answer, ops, peak, bandwidth, want):
    got = answer.step_time(ops, peak, bandwidth)
    expect(got, want, slips_of_step(got, ops, peak, bandwidth))


def slips_of_step(got, ops, peak, bandwidth):
    share = got[-1] if type(got) is tuple and got else None  # whatever it is a share of
    pairs = [(flops / peak, nbytes / bandwidth) for flops, nbytes in ops.values()]
    longer = [max(pair) for pair in pairs]
    waits = [pair[1] >= pair[0] for pair in pairs]
    waiting = sum(time for time, wait in zip(longer, waits) if wait)
    math, memory = (sum(each) for each in zip(*pairs))
    return {
        "arithmetic and memory are added; they work at the same time": (
            math + memory,
            share,
        ),
        "the longer of the two times is taken for each piece, not for the sums": (
            max(math, memory),
            share,
        ),
        "a piece that takes both equally long is memory-limited, too": (
            sum(longer),
            sum(pair[1] for pair in pairs if pair[1] > pair[0]) / sum(longer),
        ),
        "the share is that of the pieces, not of the time": (sum(longer), sum(waits) / len(waits)),
        "the seconds of waiting are returned, not their share": (sum(longer), waiting),
        "the share is that of the math-limited pieces": (sum(longer), 1 - waiting / sum(longer)),
        "the two results are exchanged": (waiting / sum(longer), sum(longer)),
        "the share is returned in percent": (sum(longer), 100 * waiting / sum(longer)),
        "a memory-limited piece counts with all its time, not with what its memory takes longer": (
            sum(longer),
            sum(pair[1] - pair[0] for pair, wait in zip(pairs, waits) if wait) / sum(longer),
        ),
        "the memory time of math-limited pieces is counted, too": (
            sum(longer),
            memory / sum(longer),
        ),
    }


def test_time_of_two_pieces_by_hand(answer):
    ops = {"product": (600, 14), "softmax": (20, 10)}  # 30 s against 14 s; 1 s against 10 s
    check_step(answer, ops, 20.0, 1.0, (40.0, 0.25))


def test_time_of_a_block_of_a_transformer(answer, rng):
    for peak, bandwidth in (H100_FP16, A100_FP32):
        L, D = (int(each) for each in rng.integers(512, 4096, 2))
        ops = {
            "products": (24 * L * D * D, 2 * (12 * D * D + 14 * L * D)),
            "scores": (4 * L * L * D, 2 * (4 * L * D + 2 * L * L)),
            "softmax": (5 * L * L, 2 * 2 * L * L),
            "norms": (8 * L * D, 2 * 4 * L * D),
        }
        seconds = [max(f / peak, n / bandwidth) for f, n in ops.values()]
        waiting = [s for s, (f, n) in zip(seconds, ops.values()) if f / n <= peak / bandwidth]
        want = (float(np.sum(seconds)), float(np.sum(waiting) / np.sum(seconds)))
        check_step(answer, ops, peak, bandwidth, want)
    ops = {"corner": (40, 8), "sum": (10, 12), "product": (400, 8)}  # 2, 2; 0.5, 3; 20, 2 seconds
    check_step(answer, ops, 20.0, 4.0, (25.0, 0.2))
