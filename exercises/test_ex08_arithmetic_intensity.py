"""Tests of exercise 08: arithmetic intensity and the roofline."""

import numpy as np

from minigrad.course.testing import expect

#: machines: (peak in FLOP/s, bandwidth in bytes/s)
H100_FP16, H100_FP32, A100_FP32 = (989e12, 3.35e12), (67e12, 3.35e12), (19.5e12, 1.555e12)


def slips_of_cost(M, N, K, itemsize):
    flops, numbers = 2 * M * N * K, M * K + K * N + M * N
    return {
        "a multiplication and an addition are 2 FLOP, not 1": (flops // 2, itemsize * numbers),
        "numbers are counted, not their bytes": (flops, numbers),
        "the bytes of C are not counted": (flops, itemsize * (numbers - M * N)),
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
        "the number of tiles is not rounded up": (
            itemsize * (M * K * (N // T) + K * N * (M // T) + M * N)
        ),
        "the bytes of C are not counted": itemsize * (M * K * across + K * N * down),
        "numbers are counted, not their bytes": M * K * across + K * N * down + M * N,
    }


def test_bytes_of_two_tiles_by_hand(answer):
    expect(answer.tiled_bytes(2, 3, 4, 2, 4), 136, slips_of_tiles(2, 3, 4, 2, 4))


def test_bytes_of_tiles_counted_one_by_one(answer):
    for sizes in ((6, 10, 3, 4, 4), (7, 5, 2, 3, 2), (4, 8, 3, 4, 4), (9, 2, 5, 4, 8)):
        expect(answer.tiled_bytes(*sizes), by_tiles(*sizes), slips_of_tiles(*sizes))


def test_tiles_of_one_and_of_everything_are_no_reuse_and_all_reuse(answer):
    expect(answer.tiled_bytes(5, 4, 3, 1, 4), 4 * (2 * 60 + 20), slips_of_tiles(5, 4, 3, 1, 4))
    expect(answer.tiled_bytes(5, 4, 3, 8, 4), 4 * (15 + 12 + 20), slips_of_tiles(5, 4, 3, 8, 4))


TURNED = "it is the other way round: what takes longer is the limit"


def check_limit(answer, flops, nbytes, machine, want):
    other = {"math": "memory", "memory": "math"}[want]
    expect(answer.limit(flops, nbytes, *machine), want, {TURNED: other})


def test_limits_by_hand(answer):
    check_limit(answer, 100, 10, (20.0, 1.0), "memory")  # 5 s of arithmetic, 10 s of memory
    check_limit(answer, 300, 10, (20.0, 1.0), "math")  # 15 s of arithmetic, 10 s of memory


def test_limits_of_real_work_on_real_machines(answer):
    n = 4096
    product = 2 * n**3, 2 * 3 * n * n  # float16
    check_limit(answer, *product, H100_FP16, "math")
    row = 2 * n * n, 2 * (n * n + 2 * n)  # matrix by vector
    check_limit(answer, *row, H100_FP16, "memory")
    softmax = 5 * n * n, 4 * 2 * n * n
    check_limit(answer, *softmax, A100_FP32, "memory")
    small = 2 * 64**3, 4 * 3 * 64 * 64
    check_limit(answer, *small, (1e12, 1e11), "math")
    check_limit(answer, *small, (1.1e12, 1e11), "memory")
    check_limit(answer, 40, 8, (20.0, 4.0), "memory")  # as long: the arithmetic is not longer


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


def slips_of_tile(T):
    return {
        "it is the largest tile that is still memory-limited, one step too small": T // 2,
        "one step too large, as if a multiplication and an addition were 1 FLOP": 2 * T,
        "the bytes of a number are forgotten, or counted twice": T // 4,
    }


def check_tile(answer, peak, bandwidth, itemsize):
    steps = 10_000  # of k, so that C does not matter
    T = 1
    while 2 * T * T * steps / peak <= 2 * T * steps * itemsize / bandwidth:
        T += T
    expect(answer.smallest_tile(peak, bandwidth, itemsize), T, slips_of_tile(T))


def test_smallest_tile_by_hand(answer):
    # 5 FLOP for a byte; tiles of 16 have 16 / 4 = 4, tiles of 32 have 8
    expect(answer.smallest_tile(20.0, 4.0, 4), 32, slips_of_tile(32))


def test_smallest_tile_of_real_machines(answer):
    check_tile(answer, *H100_FP16, 2)
    check_tile(answer, *H100_FP32, 4)
    check_tile(answer, *A100_FP32, 4)
    check_tile(answer, 16.0, 4.0, 2)  # tiles of 8 have just the machine's ratio: not enough
    check_tile(answer, 3.0, 4.0, 1)


def slips_of_step(ops, peak, bandwidth):
    pairs = [(flops / peak, nbytes / bandwidth) for flops, nbytes in ops.values()]
    longer = [max(pair) for pair in pairs]
    waits = [pair[1] >= pair[0] for pair in pairs]
    waiting = sum(time for time, wait in zip(longer, waits) if wait)
    math, memory = (sum(each) for each in zip(*pairs))
    return {
        "arithmetic and memory are added; they work at the same time": (
            math + memory,
            waiting / (math + memory),
        ),
        "the sums are compared; each piece has to end before the next": (
            max(math, memory),
            float(memory >= math),
        ),
        "the share is that of the pieces, not of the time": (sum(longer), sum(waits) / len(waits)),
        "the seconds of waiting are returned, not their share": (sum(longer), waiting),
        "the share is that of the math-limited pieces": (sum(longer), 1 - waiting / sum(longer)),
        "all time of the memory is waiting, also where the arithmetic takes longer": (
            sum(longer),
            memory / sum(longer),
        ),
    }


def test_time_of_two_pieces_by_hand(answer):
    ops = {"product": (600, 20), "softmax": (20, 10)}  # 30 s against 20 s; 1 s against 10 s
    expect(answer.step_time(ops, 20.0, 1.0), (40.0, 0.25), slips_of_step(ops, 20.0, 1.0))


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
        expect(answer.step_time(ops, peak, bandwidth), want, slips_of_step(ops, peak, bandwidth))
