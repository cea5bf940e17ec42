"""Tests of exercise 10: FlashAttention."""

import math

import numpy as np

from minigrad.course.testing import at_most, empty, expect

BLOCK, HEAD = 16, 8
#: more keys, or numbers of a row, than anybody holds at once
LONG = 130
#: float32 scores of some hundreds are known to 1e-5 or so, and exp makes that a relative error
TOLERANCE = 2e-4


def numbers(rng, *shape):
    return rng.normal(size=shape).astype(np.float32)


def f32(values):
    return np.array(values, np.float32)


# States of a softmax, for the test of merge.


def state_of(scores, v):
    """(m, l, o) of scores (L, S) and values (S, H), key by key."""
    m = np.array([max(row) for row in scores.tolist()])
    powers = np.array([[math.exp(s - top) for s in row] for row, top in zip(scores.tolist(), m)])
    return m, powers.sum(axis=1), np.einsum("ls,sh->lh", powers, v)


def slips_of_merge(first, second):
    (m1, l1, o1), (m2, l2, o2) = first, second
    m = np.maximum(m1, m2)
    w1, w2 = np.exp(m1 - m), np.exp(m2 - m)
    l, o = w1 * l1 + w2 * l2, w1[:, None] * o1 + w2[:, None] * o2
    apart = np.exp(m1) / np.exp(m), np.exp(m2) / np.exp(m)
    return {
        "sums with different largest scores are added without bringing them to one": (
            m, l1 + l2, o1 + o2,
        ),
        "only l is brought to the new largest score, o is not": (m, l, o1 + o2),
        "only o is brought to the new largest score, l is not": (m, l1 + l2, o),
        "o is divided by l, and should not be": (m, l, o / l[:, None]),
        "the weights are turned round: they are exp(old m − new m)": (
            m, l1 / w1 + l2 / w2, o1 / w1[:, None] + o2 / w2[:, None],
        ),
        "exp(m1) and exp(m) are taken apart: take the exp of the difference": (
            m, apart[0] * l1 + apart[1] * l2, apart[0][:, None] * o1 + apart[1][:, None] * o2,
        ),
    }  # fmt: skip


def test_two_states_of_one_row_are_merged_by_hand(answer):
    half = math.log(2.0)
    first = np.array([0.0]), np.array([3.0]), np.array([[1.0, 5.0]])
    second = np.array([half]), np.array([1.0]), np.array([[2.0, 0.0]])
    want = np.array([half]), np.array([2.5]), np.array([[2.5, 2.5]])
    expect(answer.merge(first, second), want, slips_of_merge(first, second))


def test_merged_halves_are_the_state_of_the_whole(answer, rng):
    for L, S, cut, size in ((3, 7, 2, 1.0), (1, 5, 4, 30.0), (4, 9, 5, 2000.0)):
        scores, v = rng.normal(size=(L, S)) * size, rng.normal(size=(S, 6))
        first, second = state_of(scores[:, :cut], v[:cut]), state_of(scores[:, cut:], v[cut:])
        with np.errstate(all="ignore"):
            slips = slips_of_merge(first, second)
        expect(answer.merge(first, second), state_of(scores, v), slips)
        expect(answer.merge(second, first), state_of(scores, v), slips)


def slips_of_bytes(L, H, block, itemsize):
    blocks, ends = -(-L // block), 2 * L * H
    flash = ends + ends * blocks
    pair = lambda standard, flash: (itemsize * standard, itemsize * flash)
    whole = 2 * ends + 4 * L * L
    return {
        "S and P are each written and read, four times L·L in all": pair(
            2 * ends + 2 * L * L, flash
        ),
        "S and P are not counted": pair(2 * ends, flash),
        "K and V are read once for every block of queries, not once in all": pair(whole, 2 * ends),
        "K and V are read once for every block of queries, and lse is not counted": pair(
            whole, 2 * ends + L
        ),
        "the last block may be smaller, and then has fewer rows of Q and O": pair(
            whole, 2 * blocks * block * H + ends * blocks
        ),
        "the number of blocks is rounded up, -(-L // block)": pair(whole, ends + ends * L / block),
        "the number of blocks is not rounded up": pair(whole, ends + ends * (L // block)),
        "K and V are read for every query, as if each were a block": pair(whole, ends + ends * L),
        "numbers are counted, not their bytes": (whole, flash),
        "the two are exchanged": pair(flash, whole),
    }


def test_bytes_of_attention_by_hand(answer):
    expect(answer.attention_bytes(4, 2, 2, 1), (96, 48), slips_of_bytes(4, 2, 2, 1))


def test_bytes_of_attention_array_by_array(answer):
    for L, H, block, itemsize in (
        (1024, 64, 128, 2),
        (100, 8, 16, 4),
        (5, 3, 8, 4),
        (33, 32, 11, 2),
    ):
        scores, rows = L * L, L * H
        steps = [(rows, rows, scores), (scores, scores), (scores, rows, rows)]
        flash = 0
        for start in range(0, L, block):
            flash += 2 * len(range(start, min(start + block, L))) * H + 2 * rows
        want = itemsize * sum(map(sum, steps)), itemsize * flash
        slips = slips_of_bytes(L, H, block, itemsize)
        expect(answer.attention_bytes(L, H, block, itemsize), want, slips)


def softmax(x):
    """In float64, row by row."""
    rows = [[math.exp(a - max(row)) for a in row] for row in x.astype(float).tolist()]
    return f32([[a / math.fsum(row) for a in row] for row in rows])


def online(x, slip):
    """The softmax by one pass for the sum, with a slip, or from an ``m`` that is a number."""
    out = np.zeros(x.shape)
    with np.errstate(all="ignore"):
        for i, row in enumerate(x.astype(float)):
            m, l = -math.inf if isinstance(slip, str) else slip, 0.0
            for j, value in enumerate(row):
                new = max(m, value)
                factor = 1.0 if slip == "kept" else np.exp(m - new)
                if slip == "dropped" and j and new > m:
                    factor = 0.0
                if slip == "turned" and j:
                    factor = np.exp(new - m)
                l = l * factor + (0.0 if slip == "first" and not j else np.exp(value - new))
                m = new
            out[i] = np.exp(row - m) / (1.0 if slip == "undivided" else l)
    return f32(out)


BEGIN = "every exp is 0 there. Begin with minus infinity, or with the first number"
SLIPS_OF_SOFTMAX = {
    "the sum is not rescaled when the largest number grows": "kept",
    "the sum is thrown away when the largest number grows; it is to be rescaled": "dropped",
    "the factor of the sum is turned round: it is exp(old m − new m)": "turned",
    "the first number is not in the sum": "first",
    "it is not divided by the sum": "undivided",
    f"m begins with 0, and all numbers of a row may be far below it: {BEGIN}": 0.0,
    f"m begins with a number that all of a row may be far below: {BEGIN}": -1e4,
}


def slips_of_softmax(x):
    return {
        **{words: lambda slip=slip: online(x, slip) for words, slip in SLIPS_OF_SOFTMAX.items()},
        "the softmax is along columns, not rows": softmax(x.T).T.copy(),
        "exp without the largest number subtracted is infinite": f32(np.full(x.shape, np.nan)),
    }


def check_softmax(answer, x, blocks, threads):
    run = answer.online_softmax[blocks, threads](x, out=empty(*x.shape))
    expect(run["out"], softmax(x), slips_of_softmax(x), tolerance=TOLERANCE)
    return run


def test_softmax_of_one_row_by_hand(answer):
    x = np.log(f32([[2, 1, 5, 2]]))
    run = answer.online_softmax[1, 4](x, out=empty(1, 4))
    expect(run["out"], f32([[0.2, 0.1, 0.5, 0.2]]), slips_of_softmax(x), tolerance=1e-6)


def test_softmax_of_rows_that_grow_shrink_and_jump(answer, rng):
    x = numbers(rng, 5, 9)
    x[0].sort()
    x[1] = np.sort(x[1])[::-1]
    check_softmax(answer, x, 2, 4)
    check_softmax(answer, numbers(rng, 3, 1), 1, 8)
    check_softmax(answer, numbers(rng, 7, 7), 1, 8)


def test_softmax_of_large_numbers(answer, rng):
    check_softmax(answer, 200 * numbers(rng, 3, 8) + 150, 1, 4)
    check_softmax(answer, f32([[-1000, -1001, -998.5], [-20_001, -20_000, -20_003]]), 1, 4)


def test_softmax_reads_each_number_twice(answer, rng):
    x = numbers(rng, 1, LONG)
    run = check_softmax(answer, x, 1, 4)
    words = "the first pass reads a number twice, or there are three: keep it in a variable"
    at_most(run.reads("x")["count"], 2 * x.size, "numbers of x that are read", words)
    words = "exp(x − m) is kept in out for another pass: compute it when m and l are known"
    at_most(run.reads("out")["count"], 0, "numbers of out that are read", words)
    at_most(run.writes("out")["count"], x.size, "numbers of out that are written", words)


# Attention, key by key in float64.


def attention(q, k, v, scale, slip=None):
    """(out, lse); with a slip, what comes of it."""
    out, lse = np.zeros((len(q), v.shape[1])), np.zeros(len(q))
    q, k, v = (each.astype(float) for each in (q, k, v))
    if slip == "padded":
        more = -len(k) % BLOCK
        k, v = (np.pad(each, ((0, more), (0, 0))) for each in (k, v))
    scale = {"unscaled": 1.0, "own scale": 1 / math.sqrt(HEAD)}.get(slip, scale)
    for i in range(len(q)):
        m, l, sums = -math.inf, 0.0, np.zeros(v.shape[1])
        for j in range(len(k)):
            s = scale * float(np.dot(q[i], k[j]))
            new = max(m, s)
            old, weight = math.exp(m - new), math.exp(s - new)
            l = (1.0 if slip == "l" else old) * l + weight
            sums = (1.0 if slip in ("sums", "tile" if j % BLOCK else "") else old) * sums
            sums = sums + weight * v[j]
            m = new
        out[i] = sums if slip == "undivided" else sums / l
        of_slips = {"log l": math.log(l), "m": m, "log2": m + math.log2(l)}
        lse[i] = of_slips.get(slip, m + math.log(l))
    return f32(out), f32(lse)


SLIPS = {
    "the sums of values are not rescaled when the largest score grows": "sums",
    "l is not rescaled when the largest score grows": "l",
    "the sums of values are not divided by l": "undivided",
    "keys that are not there are counted in the last tile": "padded",
    "the scores are not multiplied by scale": "unscaled",
    "the scores are multiplied by 1/√HEAD, not by scale": "own scale",
}
OF_LSE = {
    "the log-sum-exp lacks the largest score: it is m + log(l)": "log l",
    "the largest score is not yet the log-sum-exp: it is m + log(l)": "m",
    "the logarithm is the natural one, math.log": "log2",
}


def slips_of_forward(q, k, v, scale):
    """Those of out and those of out_lse."""
    L, S = len(q), len(k)
    wrong = lambda slip: attention(q, k, v, scale, slip)
    first = lambda count: attention(q, k[:count], v[:count], scale)[0]
    slips = {words: lambda slip=slip: wrong(slip)[0] for words, slip in SLIPS.items()}
    if S > BLOCK:
        slips["only the first tile of keys is looked at"] = lambda: first(BLOCK)
    if S > BLOCK and S % BLOCK:
        slips["the last tile of keys is left out"] = lambda: first(S - S % BLOCK)
    if S > L:
        slips["as many keys are looked at as there are queries"] = lambda: first(L)
    if S == L:
        slips["queries and keys are exchanged"] = lambda: attention(k, q, v, scale)[0]
    return slips, {words: lambda slip=slip: wrong(slip)[1] for words, slip in OF_LSE.items()}


def check_forward(answer, q, k, v, scale, want=None, tolerance=TOLERANCE):
    L, blocks = len(q), -(-len(q) // BLOCK)
    outputs = dict(out=empty(L, HEAD), out_lse=empty(L))
    run = answer.flash_forward[blocks, BLOCK](q, k, v, np.float32(scale), **outputs)
    out, lse = want or attention(q, k, v, scale)
    slips, slips_of_lse = slips_of_forward(q, k, v, scale)
    expect(run["out"], out, slips, tolerance=tolerance)
    expect(run["out_lse"], lse, slips_of_lse, tolerance=tolerance)
    return run


def test_attention_of_one_query_and_two_keys_by_hand(answer):
    q, k, v = np.zeros((3, 1, HEAD), np.float32)[0], *np.zeros((2, 2, HEAD), np.float32)
    q[0, 0], k[1, 0] = 2, math.log(3)  # scores 0 and log 3, with scale 1/2: weights 1/4 and 3/4
    v[0, 1], v[1, 1], v[1, 2] = 4, 8, 1
    want = f32([[0, 7, 0.75, 0, 0, 0, 0, 0]])
    check_forward(answer, q, k, v, 0.5, (want, f32([math.log(4)])), tolerance=1e-6)


def test_attention_of_any_lengths(answer, rng):
    for L, S in ((16, 16), (17, 20), (18, 2)):
        q, k, v = numbers(rng, L, HEAD), numbers(rng, S, HEAD), numbers(rng, S, HEAD)
        check_forward(answer, q, k, v, 0.375)


def far_below(far, S):
    """A query (1, HEAD) and keys (S, HEAD) with the scores −far, −far − 1, −far − 2 …, exactly."""
    q, k = np.zeros((1, HEAD), np.float32), np.zeros((S, HEAD), np.float32)
    q[0, 2], k[:, 2] = -256, (far + np.arange(S)) / 256
    return q, k


def test_attention_with_large_scores_that_grow(answer, rng):
    q, k, v = numbers(rng, 4, HEAD), numbers(rng, 20, HEAD), numbers(rng, 20, HEAD)
    k *= np.linspace(1, 40, 20, dtype=np.float32)[:, None]
    check_forward(answer, q, k, v, 1.5)
    for far in (1024, 20480):
        check_forward(answer, *far_below(far, 3), numbers(rng, 3, HEAD), 1.0)


def test_keys_and_values_come_through_shared_memory(answer, rng):
    q, k, v = numbers(rng, BLOCK, HEAD), numbers(rng, LONG, HEAD), numbers(rng, LONG, HEAD)
    run = check_forward(answer, q, k, v, 0.5)
    words = "keys are read from global memory by every query: let the block share a tile"
    at_most(run.reads("k")["bytes"], k.nbytes, "bytes of k that are read", words)
    at_most(run.reads("v")["bytes"], v.nbytes, "bytes of v that are read", words)
    words = "a query is read anew for every key: keep it in an array of the thread's own"
    at_most(run.reads("q")["count"], q.size, "numbers of q that are read", words)
    only_written(run, q.size)


def only_written(run, size):
    """Check that no sums are kept in out."""
    words = "the sums are kept in out, in global memory: an array of the thread's own is nearer"
    at_most(run.reads("out")["count"], 0, "numbers of out that are read", words)
    at_most(run.writes("out")["count"], size, "numbers of out that are written", words)


def weights(q, k, scale):
    """p (L, S) and lse (L,), float64."""
    s = scale * np.einsum("lh,sh->ls", q.astype(float), k.astype(float))
    lse = np.array([max(row) + math.log(sum(math.exp(a - max(row)) for a in row)) for row in s])
    return np.exp(s - lse[:, None]), lse, s


def slips_of_dv(q, k, scale, dout):
    p, lse, s = weights(q, k, scale)
    L, S, lse = len(q), len(k), lse[:, None]
    exp = np.vectorize(math.exp)  # the same where it loses digits, below 1e-308
    dv = lambda weight: f32(weight.T @ dout.astype(float))
    slips = {
        "lse is not subtracted, so p is not yet a weight": lambda: dv(np.exp(s)),
        "the scores are not multiplied by scale": lambda: dv(np.exp(s / scale - lse)),
        "lse is multiplied by scale, too: the scores alone are": lambda: dv(
            np.exp(s - scale * lse)
        ),
        "dV is multiplied by scale; only the scores are": lambda: scale * dv(p),
        "exp(s) and exp(lse) are taken apart: take the exp of the difference": lambda: dv(
            exp(s) / exp(f32(lse))
        ),
        "as many queries are looked at as there are keys": lambda: f32(p[:S].T @ dout[:S]),
        "only the first tile of queries is looked at": lambda: f32(p[:BLOCK].T @ dout[:BLOCK]),
    }
    if L == S:
        slips["it is p · dout, not pᵀ · dout"] = lambda: f32(p @ dout)
    return slips


def check_dv(answer, q, k, scale, dout):
    p, lse, _ = weights(q, k, scale)
    given, S = (q, k, np.float32(scale), f32(lse), dout), len(k)
    run = answer.flash_backward_dv[-(-S // BLOCK), BLOCK](*given, out=empty(S, HEAD))
    with np.errstate(all="ignore"):
        slips = slips_of_dv(q, k, scale, dout)
        expect(run["out"], f32(p.T @ dout.astype(float)), slips, tolerance=TOLERANCE)
    return run


def test_gradient_of_v_by_hand(answer):
    q, k, dout = np.zeros((3, 2, HEAD), np.float32)
    # weights 1/4, 3/4 for the first query, 1/2, 1/2 for the other
    q[0, 0], k[1, 0] = 2, math.log(3)
    dout[0, :2], dout[1, 0] = [4, 8], 2
    lse, want = f32([math.log(4), math.log(2)]), np.zeros((2, HEAD), np.float32)
    want[0, :2], want[1, :2] = [2, 2], [4, 6]
    run = answer.flash_backward_dv[1, BLOCK](q, k, np.float32(0.5), lse, dout, out=empty(2, HEAD))
    expect(run["out"], want, slips_of_dv(q, k, 0.5, dout), tolerance=1e-6)


def test_gradient_of_v_for_any_lengths(answer, rng):
    for L, S in ((16, 16), (20, 17), (2, 18)):
        q, k, dout = numbers(rng, L, HEAD), numbers(rng, S, HEAD), numbers(rng, L, HEAD)
        check_dv(answer, q, k, 0.375, dout)


def test_gradient_of_v_with_large_scores(answer, rng):
    q, k, dout = 12 * numbers(rng, 18, HEAD), numbers(rng, 6, HEAD), numbers(rng, 18, HEAD)
    check_dv(answer, q, k, 1.5, dout)
    # exp(−740) is not yet 0, but has two digits only; exp(740) is infinite
    check_dv(answer, *far_below(740, BLOCK), 1.0, numbers(rng, 1, HEAD))


def test_queries_come_through_shared_memory(answer, rng):
    q, k, dout = numbers(rng, LONG, HEAD), numbers(rng, BLOCK, HEAD), numbers(rng, LONG, HEAD)
    run = check_dv(answer, q, k, 0.5, dout)
    words = "queries are read from global memory by every key: let the block share a tile"
    for name, array in (("q", q), ("dout", dout)):
        at_most(run.reads(name)["bytes"], array.nbytes, f"bytes of {name} that are read", words)
    at_most(run.reads("lse")["bytes"], 4 * LONG, "bytes of lse that are read", words)
    words = "a key is read anew for every query: keep it in an array of the thread's own"
    at_most(run.reads("k")["count"], k.size, "numbers of k that are read", words)
    only_written(run, k.size)
