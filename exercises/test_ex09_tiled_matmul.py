"""Tests of exercise 09: tiled matrix products."""

import numpy as np

from minigrad.course.testing import at_most, empty, expect

TILE, EACH, SECTOR = 8, 4, 32


def numbers(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def product(a, b):
    """A·B in float64, one product at a time, rounded."""
    out = np.zeros((len(a), b.shape[1]))
    for k in range(a.shape[1]):
        out += np.outer(a[:, k].astype(float), b[k].astype(float))
    return out.astype(np.float32)


def slips(a, b):
    """What comes of well-known mistakes; of several shapes only where they fit together."""
    found = {
        "the last step along k is left out where TILE does not divide K": lambda: product(
            a[:, : a.shape[1] // TILE * TILE], b[: a.shape[1] // TILE * TILE]
        ),
        "only the first step along k is done": lambda: product(a[:, :TILE], b[:TILE]),
        "only the first of each thread's EACH numbers is computed and written": lambda: (
            first_of_each(a, b)
        ),
    }
    if a.shape[0] == a.shape[1] == b.shape[1]:
        found |= {
            "the indices of A are turned round: it is a[i, k]": product(a.T, b),
            "the indices of B are turned round: it is b[k, j]": product(a, b.T),
            "C is written turned round: out[i, j] has row i of A": product(a, b).T.copy(),
            "the product is B·A, not A·B": product(b, a),
        }
    return found


def first_of_each(a, b):
    out = product(a, b)
    rows = np.arange(len(out)) % (TILE * EACH) >= TILE
    out[rows] = np.nan
    return out


#: of the naive product
ALONG = "threadIdx.x goes along the rows of C, and neighbours in x are far apart in memory"


def along_rows(a, b, high, wide):
    """What comes of threads (x, y) that compute C[x, y], where there are more along x."""
    out = product(a, b)
    out[-(-out.shape[1] // wide) * wide :] = np.nan
    out[:, -(-len(out) // high) * high :] = np.nan
    return out


def launched(kernel, a, b, high, wide, threads):
    """Launch a kernel with enough blocks for tiles of ``high`` x ``wide``."""
    M, N = a.shape[0], b.shape[1]
    return kernel[(-(-N // wide), -(-M // high)), threads](a, b, out=empty(M, N))


def check(kernel, a, b, high, wide, threads, more=None):
    run = launched(kernel, a, b, high, wide, threads)
    expect(run["out"], product(a, b), slips(a, b) | (more or {}), tolerance=1e-5)
    return run


def by_hand():
    return np.float32([[1, 2], [3, 4]]), np.float32([[10, 20], [30, 50]])


WANT = np.float32([[70, 120], [150, 260]])


def test_a_product_of_two_by_two_one_number_a_thread(answer):
    a, b = by_hand()
    expect(launched(answer.naive_matmul, a, b, 2, 2, (2, 2))["out"], WANT, slips(a, b))


def test_naive_products_of_any_size(answer, rng):
    for M, N, K in ((5, 9, 3), (8, 8, 8), (1, 3, 10), (9, 1, 2), (17, 6, 1)):
        a, b = numbers(rng, M, K), numbers(rng, K, N)
        check(answer.naive_matmul, a, b, 4, 8, (8, 4), {ALONG: along_rows(a, b, 4, 8)})


def test_a_warp_of_the_naive_product_is_at_neighbouring_columns(answer, rng):
    a, b = numbers(rng, 32, 3), numbers(rng, 3, 32)
    run = check(answer.naive_matmul, a, b, 4, 32, (32, 4))
    words = "C is written in every step of k: sum in a variable"
    at_most(run.writes("out")["count"], 32 * 32, "writes to out", words)
    enough = 32 * 3 * 32 * 4 // SECTOR
    at_most(run.reads("b")["transfers"], enough, "sectors of b that are read", ALONG)
    at_most(run.writes("out")["transfers"], 32 * 32 * 4 // SECTOR, "sectors of out written", ALONG)


def test_a_product_of_two_by_two_in_one_tile(answer):
    a, b = by_hand()
    expect(launched(answer.tiled_matmul, a, b, 8, 8, (8, 8))["out"], WANT, slips(a, b))


def test_tiled_products_of_whole_tiles(answer, rng):
    for M, N, K in ((8, 8, 8), (16, 16, 16), (8, 16, 24)):
        check(answer.tiled_matmul, numbers(rng, M, K), numbers(rng, K, N), 8, 8, (8, 8))


def test_tiled_products_with_ragged_edges(answer, rng):
    for M, N, K in ((9, 5, 11), (3, 10, 8), (11, 11, 11), (1, 1, 9), (8, 8, 3)):
        check(answer.tiled_matmul, numbers(rng, M, K), numbers(rng, K, N), 8, 8, (8, 8))


def test_tiles_read_global_memory_as_often_as_the_formula_says(answer, rng):
    M, N, K = 16, 24, 8
    run = check(answer.tiled_matmul, numbers(rng, M, K), numbers(rng, K, N), 8, 8, (8, 8))
    words = "the products are taken from global memory, not from the tiles"
    enough = 4 * M * N * K // TILE
    for name in "ab":
        at_most(run.reads(name)["bytes"], enough, f"bytes of {name} that are read", words)
    words = "the threads of a warp are below one another: let threadIdx.x count along the rows of "
    for name in "ab":
        sectors = f"sectors of {name} that are read"
        at_most(run.reads(name)["transfers"], enough // SECTOR, sectors, words + name)


def test_a_product_of_two_by_two_with_four_numbers_a_thread(answer):
    a, b = by_hand()
    expect(launched(answer.column_matmul, a, b, 32, 8, (8, 8))["out"], WANT, slips(a, b))


def test_products_with_four_numbers_a_thread(answer, rng):
    for M, N, K in ((32, 8, 8), (33, 9, 9), (16, 16, 16), (40, 3, 10), (5, 12, 17)):
        check(answer.column_matmul, numbers(rng, M, K), numbers(rng, K, N), 32, 8, (8, 8))


def test_a_number_of_the_tile_of_b_is_read_once_for_four_products(answer, rng):
    M, N, K = 32, 8, 16
    run = check(answer.column_matmul, numbers(rng, M, K), numbers(rng, K, N), 32, 8, (8, 8))
    enough = M * N * K + M * N * K // EACH
    words = (
        "the number of B is read anew for each product: keep it in a variable (the loop over EACH "
        "belongs inside the one over k)"
    )
    at_most(run.reads("shared")["count"], enough, "reads of shared memory", words)
    words = "the products are taken from global memory, not from the tiles"
    at_most(run.reads("b")["bytes"], 4 * K * N, "bytes of b that are read", words)
