"""Tests of exercise 07: GPU anatomy."""

import math

import numpy as np

from minigrad.course.testing import at_most, empty, expect

SECTOR = 32  # bytes
H100 = {"threads": 2048, "blocks": 32, "registers": 65536, "shared": 233472}


def numbers(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def f32(values):
    return np.array(values, np.float32)


def left_out(want, *indices):
    """The expected array, where some elements have never been written."""
    wrong = want.copy()
    for index in indices:
        wrong[index] = np.nan
    return wrong


def slips_of_add(x, y):
    return {
        "y is not added": x,
        "x is not added": y,
        "the last element is left out": left_out(x + y, -1),
        "the difference is computed, not the sum": x - y,
    }


def test_five_sums_by_hand(answer):
    x, y = f32([1, 2, 3, 4, 5]), f32([10, 20, 30, 40, 50])
    run = answer.add[1, 8](x, y, out=empty(5))
    expect(run["out"], f32([11, 22, 33, 44, 55]), slips_of_add(x, y))


def test_sums_with_several_blocks_and_a_ragged_edge(answer, rng):
    for n, blocks, threads in ((100, 4, 32), (96, 3, 32), (65, 3, 32), (1, 2, 32), (70, 2, 64)):
        x, y = numbers(rng, 2, n)
        run = answer.add[blocks, threads](x, y, out=empty(n))
        first_block = left_out(x + y, slice(threads, None))
        slips = {"only the first block's elements are written": first_block}
        expect(run["out"], x + y, slips_of_add(x, y) | slips)
        words = "one thread adds several elements: each has one of its own, number cuda.grid(1)"
        at_most(run.writes("out")["most"], 1, "elements that one thread writes", words)
        check_sectors(run, x, "x", "out")


FAR = "in one pass of the loop the threads of a warp are at elements that lie far apart"
FEW = "a few threads do the work of all"


def check_sectors(run, x, read, written=None):
    """Check that an array of x's size, read by ``run``, moves in as few sectors as it lies in."""
    enough = -(-x.nbytes // SECTOR)
    at_most(run.reads(read)["transfers"], enough, f"sectors of {read} that are read", FAR)
    if written:
        moved = run.writes(written)["transfers"]
        at_most(moved, enough, f"sectors of {written} that are written", FAR)


def check_spread(run, n, threads):
    """Check that no thread has read more than its share of the n elements of x."""
    most = run.reads("x")["most"]
    at_most(most, -(-n // threads), "elements of x that one thread reads", FEW)


def slips_of_scale(x, a, threads):
    words = "each thread takes one element only, or its step is not the number of all threads"
    return {
        words: left_out(a * x, slice(threads, None)),
        "it is not multiplied by a": x,
    }


def test_seven_products_with_four_threads_by_hand(answer):
    x = f32([1, 2, 3, 4, 5, 6, 7])
    run = answer.scale[1, 4](x, np.float32(10), out=empty(7))
    expect(run["out"], f32([10, 20, 30, 40, 50, 60, 70]), slips_of_scale(x, np.float32(10), 4))


def test_products_with_any_number_of_threads(answer, rng):
    for n, blocks, threads in ((130, 2, 32), (64, 1, 32), (33, 2, 64), (1, 1, 32), (300, 3, 32)):
        x, a = numbers(rng, n), np.float32(rng.normal() + 3)
        run = answer.scale[blocks, threads](x, a, out=empty(n))
        expect(run["out"], a * x, slips_of_scale(x, a, blocks * threads))
        check_spread(run, n, blocks * threads)


def test_a_warp_reads_and_writes_neighbours(answer, rng):
    x, a = numbers(rng, 512), np.float32(3)
    run = answer.scale[2, 64](x, a, out=empty(512))
    expect(run["out"], a * x)
    check_sectors(run, x, "x", "out")


def slips_of_transpose(x):
    slips = {
        "rows after the first 8 of a tile are left out": lambda: first_rows(x),
        "block (bx, by) writes its tile to out[bx * TILE, by * TILE], and bx goes along the rows "
        "of x": lambda: blocks_not_exchanged(x),
    }
    if x.shape[0] == x.shape[1]:
        slips["it is copied, not transposed"] = x
    return slips


def first_rows(x):
    """What comes of one pass where TILE / ROWS are needed."""
    out = np.full(x.T.shape, np.nan, np.float32)
    for i, j in np.ndindex(out.shape):
        if i % 32 < 8:
            out[i, j] = x[j, i]
    return out


def blocks_not_exchanged(x):
    """What comes of tiles that are written to out where they lie in x."""
    out = np.full(x.T.shape, np.nan, np.float32)
    for i in range(0, x.shape[0], 32):
        for j in range(0, x.shape[1], 32):
            place, tile = out[i : i + 32, j : j + 32], x.T[j : j + 32, i : i + 32]
            high, wide = map(min, place.shape, tile.shape)
            place[:high, :wide] = tile[:high, :wide]
    return out


def test_a_matrix_of_two_rows_is_transposed_by_hand(answer):
    x = f32([[1, 2, 3], [4, 5, 6]])
    run = answer.transpose[(1, 1), (32, 8)](x, out=empty(3, 2))
    expect(run["out"], f32([[1, 4], [2, 5], [3, 6]]), slips_of_transpose(x))


def test_square_and_ragged_matrices_are_transposed(answer, rng):
    for m, n in ((32, 32), (10, 40), (33, 31), (1, 5)):
        x = numbers(rng, m, n)
        grid = -(-n // 32), -(-m // 32)
        run = answer.transpose[grid, (32, 8)](x, out=empty(n, m))
        expect(run["out"], x.T.copy(), slips_of_transpose(x))


def test_both_sides_of_the_transpose_are_coalesced(answer, rng):
    x = numbers(rng, 32, 64)
    run = answer.transpose[(2, 1), (32, 8)](x, out=empty(64, 32))
    expect(run["out"], x.T.copy())
    enough = x.nbytes // SECTOR
    words = "a warp reads down a column of x: it belongs into shared memory first"
    at_most(run.reads("x")["transfers"], enough, "sectors of x that are read", words)
    words = "a warp writes down a column of out: let it read down a column of the tile instead"
    at_most(run.writes("out")["transfers"], enough, "sectors of out that are written", words)


def test_no_two_lanes_want_one_bank(answer, rng):
    x = numbers(rng, 32, 32)
    run = answer.transpose[(1, 1), (32, 8)](x, out=empty(32, 32))
    expect(run["out"], x.T.copy())
    words = "a column of the tile lies in one bank; a tile one element wider has it in 32"
    for word in ("reads", "writes"):
        seen = getattr(run, word)("shared")
        what = f"passes over shared memory for {word}"
        at_most(seen["transfers"], seen["requests"], what, words)


def slips_of_rows(x):
    """Mistakes in a sum of 32 lanes, for x (m, n)."""
    m, n = x.shape
    lanes = np.zeros((m, 32), np.float32)
    for j in range(n):
        lanes[:, j % 32] += x[:, j]
    return {
        "only lane 0's own elements are summed": lanes[:, 0],
        "only the first 32 elements of a row are summed": x[:, :32].sum(axis=1),
        "the first step of the shuffles is 8, so half of the lanes are left out": lanes[:, :16].sum(
            axis=1
        ),
        "the last step of the shuffles, by 1, is left out": lanes[:, ::2].sum(axis=1),
    }


def test_rows_of_three_are_summed_by_hand(answer):
    x = f32([[1, 2, 3], [10, 20, 30]])
    run = answer.row_sums[2, 32](x, out=empty(2))
    expect(run["out"], f32([6, 60]), slips_of_rows(x))


def test_rows_of_any_length_are_summed(answer, rng):
    for m, n in ((3, 32), (2, 77), (5, 1), (2, 64), (1, 31)):
        x = numbers(rng, m, n) + 1
        run = answer.row_sums[m, 32](x, out=empty(m))
        want = np.array([math.fsum(row) for row in x.tolist()], np.float32)
        expect(run["out"], want, slips_of_rows(x))


def test_lanes_meet_without_shared_memory_and_read_neighbours(answer, rng):
    x = numbers(rng, 2, 128)
    run = answer.row_sums[2, 32](x, out=empty(2))
    expect(run["out"], x.astype(float).sum(axis=1).astype(np.float32), slips_of_rows(x))
    accesses = run.reads("shared")["count"] + run.writes("shared")["count"]
    at_most(accesses, 0, "accesses to shared memory", "shuffles need none")
    words = "the lanes add to out one by one: let shuffles bring the sum to lane 0, which writes it"
    at_most(run.writes("out")["count"], 2, "numbers that are written to out", words)
    check_sectors(run, x, "x")


def slips_of_total(x, blocks, threads):
    by_thread = np.zeros(blocks * threads, np.float32)
    for i, value in enumerate(x):
        by_thread[i % (blocks * threads)] += value
    by_thread = by_thread.reshape(blocks, threads)
    return {
        "only the first warp of each block is summed": by_thread[:, :32].sum().reshape(1),
        "only the first block is summed": by_thread[0].sum().reshape(1),
        "the first warp's sum is counted twice": (by_thread.sum() + by_thread[:, :32].sum())
        .astype(np.float32)
        .reshape(1),
        "each thread takes one element only": x[: blocks * threads].sum().reshape(1),
    }


def summed(x):
    return f32([math.fsum(x.tolist())])


def test_a_sum_of_two_warps_by_hand(answer):
    x = np.arange(1, 65, dtype=np.float32)
    run = answer.total[1, 64](x, out=np.zeros(1, np.float32))
    expect(run["out"], f32([2080]), slips_of_total(x, 1, 64))


def test_sums_of_several_blocks(answer, rng):
    for n, blocks, threads in ((300, 2, 64), (100, 3, 32), (1, 2, 96), (256, 1, 128), (50, 2, 64)):
        x = numbers(rng, n) + 1
        run = answer.total[blocks, threads](x, out=np.zeros(1, np.float32))
        expect(run["out"], summed(x), slips_of_total(x, blocks, threads), tolerance=1e-5)


def test_one_atomic_operation_a_block(answer, rng):
    x = numbers(rng, 512) + 1
    run = answer.total[2, 128](x, out=np.zeros(1, np.float32))
    expect(run["out"], summed(x), slips_of_total(x, 2, 128))
    words = "more threads than one of each block add to out"
    at_most(run.writes("out")["count"], 2, "atomic operations on out", words)
    check_sectors(run, x, "x")
    check_spread(run, 512, 256)
    words = "the sums of single threads go to memory, and should be summed by shuffles first"
    for way in ("writes", "reads"):  # room for setting 32 places to 0
        most = f"{way} of shared memory by each block"
        at_most(getattr(run, way)("shared")["count"] // 2, 32 + 4, most, words)


def slips_of_occupancy(threads, registers, shared, sm):
    limits = {
        "the number of threads": sm["threads"] // threads,
        "the number of blocks": sm["blocks"],
        "the registers": sm["registers"] // (threads * registers),
        "the shared memory": sm["shared"] // shared if shared else 10**9,
    }
    least = min(limits.values())
    available = (sm["threads"], sm["blocks"] * threads, sm["registers"] / registers)
    parts = min(*available, sm["shared"] / shared * threads if shared else np.inf)
    slips = {
        "the share is that of the blocks, not of the threads": (least, least / sm["blocks"]),
        "the share is computed from blocks that are not whole": (least, parts / sm["threads"]),
        "a block that does not fit is there 0 times": (max(least, 1), threads / sm["threads"]),
    }
    for name in limits:
        blocks = min(limit for other, limit in limits.items() if other != name)
        more = (
            ", or taken as if a block needed as many as a thread" if name == "the registers" else ""
        )
        slips[f"the limit by {name} is not looked at{more}"] = (
            blocks,
            blocks * threads / sm["threads"],
        )
    return slips


def check_occupancy(answer, *given):
    threads, _, _, sm = given
    slips = slips_of_occupancy(*given)
    got, blocks = answer.occupancy(*given), 0
    while fits(blocks + 1, *given):
        blocks += 1
    expect(got, (blocks, blocks * threads / sm["threads"]), slips)


def fits(blocks, threads, registers, shared, sm):
    """Whether so many blocks are there at a time."""
    return (
        blocks <= sm["blocks"]
        and blocks * threads <= sm["threads"]
        and blocks * threads * registers <= sm["registers"]
        and blocks * shared <= sm["shared"]
    )


def test_occupancy_by_hand(answer):
    expect(answer.occupancy(256, 64, 0, H100), (4, 0.5), slips_of_occupancy(256, 64, 0, H100))


def test_what_runs_out_first_is_the_limit(answer):
    check_occupancy(answer, 1024, 16, 0, H100)  # threads
    check_occupancy(answer, 32, 16, 0, H100)  # blocks
    check_occupancy(answer, 192, 168, 1000, H100)  # registers
    check_occupancy(answer, 128, 32, 50_000, H100)  # shared memory
    check_occupancy(answer, 256, 32, 40_000, H100 | {"shared": 167_936})


def test_only_whole_blocks_fit(answer):
    check_occupancy(answer, 768, 40, 0, H100)
    check_occupancy(answer, 96, 100, 30_000, H100 | {"threads": 1536, "blocks": 24})
    check_occupancy(answer, 512, 255, 0, H100 | {"registers": 32768})  # none at all
    check_occupancy(answer, 352, 48, 0, H100)
