"""Tests of exercise 17: smaller caches, from heads that share to one latent for all of them."""

import math

import numpy as np

from minigrad.course.testing import expect

# The references below loop over texts, heads and positions one by one.


def softmax_of_a_row(row):
    top = max(row)
    powers = [math.exp(s - top) for s in row]
    return [p / sum(powers) for p in powers]


def attend(q, k, v, divisor, causal=True):
    """One head of one text: q (L, w), k (T, w), v (T, h); q are the last L of T."""
    y = np.zeros((len(q), v.shape[1]))
    hidden = len(k) - len(q)
    for i in range(len(q)):
        seen = range(hidden + i + 1) if causal else range(len(k))
        weights = softmax_of_a_row([float(np.dot(q[i], k[j])) / divisor for j in seen])
        for j, weight in zip(seen, weights):
            y[i] += weight * v[j]
    return y


def grouped_by_loops(q, k, v, slip=None):
    """Every query head by itself. ``slip`` names a mistake to make."""
    B, n_h, _, H = q.shape
    n_kv = k.shape[1]
    y = np.zeros(q.shape)
    for b in range(B):
        for i in range(n_h):
            j = i // (n_h // n_kv)
            if slip == "modulo":
                j = i % n_kv
            elif slip == "first":
                j = 0
            divisor = {"undivided": 1.0, "by D": math.sqrt(n_h * H)}.get(slip, math.sqrt(H))
            y[b, i] = attend(q[b, i], k[b, j], v[b, j], divisor, slip != "future")
    return y.astype(q.dtype)


def grouped_slips(q, k, v):
    """The mistakes {words: grouped attention with this slip}, worked out where needed."""
    names = {
        MODULO: "modulo",
        FIRST_FOR_ALL: "first",
        UNDIVIDED: "undivided",
        BY_D: "by D",
        FUTURE: "future",
    }
    return {
        words: lambda slip=slip: grouped_by_loops(q, k, v, slip) for words, slip in names.items()
    }


def latent_by_loops(q, q_R, cache, W_UK, W_UV, slip=None):
    """Every head makes its own keys and values. ``slip`` names a mistake to make."""
    B, n_h, _, H = q.shape
    d_c, d_R = W_UK.shape[1], q_R.shape[3]
    y = np.zeros(q.shape)
    for b in range(B):
        c, k_R = cache[b, :, :d_c], cache[b, :, d_c:]
        if slip == "k_R first":
            c, k_R = cache[b, :, d_R:], cache[b, :, :d_R]
        for i in range(n_h):
            K, V = W_UK[i], W_UV[i]
            if slip == "first matrix":
                K, V = W_UK[0], W_UV[0]
            k = np.concatenate([c @ K, k_R], axis=1)
            query = np.concatenate([q[b, i], q_R[b, i]], axis=1)
            if slip == "no k_R":
                k, query = k[:, :H], query[:, :H]
            widths = {"by H": H, "by latent": d_c + d_R, "undivided": 1}
            divisor = math.sqrt(widths.get(slip, H + d_R))
            v = c @ (K if slip == "values by W_UK" else V)
            y[b, i] = attend(query, k, v, divisor, slip != "future")
    return y.astype(q.dtype)


def latent_slips(*arguments):
    """The mistakes {words: latent attention with this slip}, worked out where needed."""
    names = {
        BY_H: "by H",
        BY_LATENT: "by latent",
        UNDIVIDED: "undivided",
        NO_TURNED_PART: "no k_R",
        K_R_FIRST: "k_R first",
        FIRST_MATRIX: "first matrix",
        VALUES_BY_KEYS: "values by W_UK",
        FUTURE: "future",
    }
    return {
        words: lambda slip=slip: latent_by_loops(*arguments, slip) for words, slip in names.items()
    }


def mixed_by_loops(q, q_R, cache, W_UK, slip=None):
    """The mixed latents (B, n_h, L, d_c): keys are made, and the values are the latents."""
    B, n_h, L, H = q.shape
    d_c, d_R = W_UK.shape[1], q_R.shape[3]
    out = np.zeros((B, n_h, L, d_c))
    for b in range(B):
        c, k_R = cache[b, :, :d_c], cache[b, :, d_c:]
        for i in range(n_h):
            k = np.concatenate([c @ W_UK[i], k_R], axis=1)
            query = np.concatenate([q[b, i], q_R[b, i]], axis=1)
            width = {"by H": H, "by latent": d_c + d_R, "undivided": 1}.get(slip, H + d_R)
            out[b, i] = attend(query, k, c, math.sqrt(width), slip != "future")
    return out.astype(q.dtype)


def absorbed_by_loops(q, q_R, cache, W_UK, W_UV, slip):
    """The three arrays, with a slip in the absorbed way itself."""
    B, n_h, L, H = q.shape
    d_c, width = W_UK.shape[1], cache.shape[2]
    queries, mixed = np.zeros((B, n_h, L, width)), np.zeros((B, n_h, L, width))
    for b in range(B):
        for i in range(n_h):
            K = W_UK[i].reshape(H, d_c) if slip == "reshaped" else W_UK[i].T
            parts = [q[b, i] @ K, q_R[b, i]]
            queries[b, i] = np.concatenate(parts[::-1] if slip == "front" else parts, axis=1)
            divisor = math.sqrt(H + q_R.shape[3])
            mixed[b, i] = attend(queries[b, i], cache[b], cache[b], divisor)
    out = np.stack([mixed[:, i, :, :d_c] @ W_UV[i] for i in range(n_h)], axis=1)
    mixed = mixed if slip == "whole rows" else mixed[..., :d_c]
    return tuple(array.astype(q.dtype) for array in (queries, mixed, out))


def check_absorbed(got, q, q_R, cache, W_UK, W_UV):
    """Check the three arrays of an absorbed answer, one after the other."""
    arguments = (q, q_R, cache, W_UK, W_UV)
    H = q.shape[3]
    moved = np.einsum("bilh,ich->bilc", q, W_UK)
    queries = np.concatenate([moved, q_R], axis=3)
    mixed, y = mixed_by_loops(*arguments[:4]), latent_by_loops(*arguments)
    slips = {BY_H: "by H", BY_LATENT: "by latent", UNDIVIDED: "undivided", FUTURE: "future"}
    wide = mixed.astype(np.float64), y.astype(np.float64)
    mistakes = {
        MADE_WIDE: lambda: (queries, *wide),
        K_R_IN_FRONT: lambda: (np.concatenate([q_R, moved], axis=3), mixed, y),
        DIVIDED_EARLY: lambda: (queries / q.dtype.type(math.sqrt(H + q_R.shape[3])), mixed, y),
        FIRST_MATRIX_OUT: lambda: (queries, mixed, mixed @ W_UV[0]),
        OUT_BY_KEYS: lambda: (queries, mixed, mixed @ W_UK),
        STILL_LATENTS: lambda: (queries, mixed, mixed),
    }
    absorbed = {FRONT_MEETS_ROWS: "front", RESHAPED: "reshaped", WHOLE_ROWS: "whole rows"}
    for words, slip in absorbed.items():
        mistakes[words] = lambda slip=slip: absorbed_by_loops(*arguments, slip)
    for words, slip in slips.items():
        mistakes[words] = lambda slip=slip: (
            queries,
            mixed_by_loops(*arguments[:4], slip),
            latent_by_loops(*arguments, slip),
        )
    tolerance = 1e-5 if q.dtype == np.float32 else None
    expect(got, (queries, mixed, y), mistakes, tolerance=tolerance)


def latent_arguments(rng, B, n_h, L, T, H, d_c, d_R, dtype=np.float64):
    shapes = dict(q=(B, n_h, L, H), q_R=(B, n_h, L, d_R), cache=(B, T, d_c + d_R))
    shapes |= dict(W_UK=(n_h, d_c, H), W_UV=(n_h, d_c, H))
    return [rng.normal(size=shape).astype(dtype) for shape in shapes.values()]


def sizes(design, l=3, n_h=12, n_kv=4, H=10, d_c=40, d_R=6):
    return dict(design=design, l=l, n_h=n_h, n_kv=n_kv, H=H, d_c=d_c, d_R=d_R)


KEYS_ONLY = "only the keys are counted; the values are kept as well"
ONE_LAYER = "only one layer is counted; each of the l layers keeps its own"
GROUP_SIZE = "GQA is counted with n_h / n_kv heads; it keeps n_kv of them"
QUERY_HEADS = "GQA is counted with n_h heads; it keeps n_kv of them"
NO_TURNED_COUNT = "only the latent of MLA is counted; the turned key part is kept as well"
LATENT_TWICE = "MLA is counted twice, as keys and as values; one latent stands for both"
LATENT_PER_HEAD = "MLA is counted for every head; all heads share one latent"
LATENT_AS_PAIR = "MLA is counted as 2 d_c; it keeps one latent, and the turned key part beside it"
NINE_HALVES = "9/2 H holds only where d_c = 4 H and d_R = H / 2; here it is d_c + d_R"
ONE_FOR_ALL = "MQA is counted with n_kv heads; it keeps one"
TURNED_PER_HEAD = "the turned key part is counted for every head; all heads share it"
NO_WEIGHTS = "the weights are forgotten: they take memory too"
WEIGHTS_BY_ITEMSIZE = "the weights are multiplied by itemsize; they are given in bytes"
WEIGHTS_BY_BATCH = "the weights are taken off once for every text; all texts share them"
NO_BATCH = "the batch is forgotten: every text has a cache of its own"
NO_ITEMSIZE = "numbers are taken for bytes: each has itemsize bytes"
ROUNDED = "a part of a token is counted as one: only whole tokens fit, so round down"
NEGATIVE = "where the weights alone do not fit, the answer is 0, not less"
POOLED_SUM = "the heads of a group are added up, not averaged"
POOLED_FIRST = "only the first head of each group is kept, and the others are lost"
POOLED_APART = "the groups are heads 0, n_kv, 2·n_kv, …; neighbours belong together"
POOLED_ROWS = "the reshape cuts the rows of W; the columns belong to heads, so D stays in front"
POOLED_PILED = "the reshape cuts the rows of W, and what it makes is not put side by side again"
POOLED_MIXED = "the columns are cut as if the numbers of one head lay n_h apart"
MODULO = "query head i reads head i modulo n_kv; neighbours share, so it is i // (n_h / n_kv)"
FIRST_FOR_ALL = "all query heads read head 0, as in MQA"
UNDIVIDED = "the scores are not divided by the root of the keys' width"
BY_D = "the scores are divided by √D, the model's width, not by √H, the head's"
FUTURE = "queries see later tokens: the softmax is not causal"
BY_H = "the scores are divided by √H; queries and keys are H + d_R wide"
BY_LATENT = "the scores are divided by √(d_c + d_R); the keys that are meant are H + d_R wide"
NO_TURNED_PART = "the turned part is left out of the scores, and with it all positions"
K_R_FIRST = "the rows of the cache are cut as if k_R came first"
FIRST_MATRIX = "every head uses the matrices of head 0"
VALUES_BY_KEYS = "the values are made by W_UK, not by W_UV"
K_R_IN_FRONT = "the query's turned part stands in front; in the cache it comes last"
FRONT_MEETS_ROWS = "the query's turned part stands in front, and meets numbers of the latent"
RESHAPED = "W_UK is reshaped to (n_h, H, d_c); that is not its transpose"
WHOLE_ROWS = "whole rows of the cache are mixed; the values are their first d_c numbers"
DIVIDED_EARLY = "the queries that are returned are divided already"
FIRST_MATRIX_OUT = "the output of every head is made by the W_UV of head 0"
OUT_BY_KEYS = "the output is made by W_UK, not by W_UV"
MADE_WIDE = "np.sqrt of an integer is a float64, and so is all that it divides: math.sqrt is not"
STILL_LATENTS = "the output is still the mixed latents: W_UV comes last"


def counts_with_slips(c):
    """The mistakes {words: count} for a config."""
    l, n_h, n_kv, H, d_c, d_R = (c[name] for name in ("l", "n_h", "n_kv", "H", "d_c", "d_R"))
    if c["design"] == "MLA":
        return {
            NO_TURNED_COUNT: d_c * l,
            LATENT_TWICE: 2 * (d_c + d_R) * l,
            LATENT_AS_PAIR: 2 * d_c * l,
            NINE_HALVES: 9 * H * l // 2,
            LATENT_PER_HEAD: n_h * (d_c + d_R) * l,
            TURNED_PER_HEAD: (d_c + n_h * d_R) * l,
            ONE_LAYER: d_c + d_R,
        }
    heads = {"MHA": n_h, "GQA": n_kv, "MQA": 1}[c["design"]]
    mistakes = {KEYS_ONLY: heads * H * l, ONE_LAYER: 2 * heads * H}
    if c["design"] == "GQA":
        mistakes |= {GROUP_SIZE: 2 * (n_h // n_kv) * H * l, QUERY_HEADS: 2 * n_h * H * l}
    if c["design"] == "MQA":
        mistakes[ONE_FOR_ALL] = 2 * n_kv * H * l
    return mistakes


def test_numbers_per_token_when_heads_share_by_hand(answer):
    # Keys and values, of 12, 4 or 1 heads of 10 numbers, in each of 3 layers.
    for design, want in (("MHA", 720), ("GQA", 240), ("MQA", 60)):
        config = sizes(design)
        expect(answer.elements_per_token(config), want, counts_with_slips(config))


def test_numbers_per_token_of_a_latent_by_hand(answer):
    # 40 and 6 numbers in each of 3 layers, for all heads together.
    config = sizes("MLA")
    expect(answer.elements_per_token(config), 138, counts_with_slips(config))


def test_numbers_per_token_of_published_models(answer):
    models = {
        "SmolLM2-135M": (sizes("GQA", 30, 9, 3, 64), 11_520),
        "Llama 2 70B": (sizes("GQA", 80, 64, 8, 128), 163_840),
        "DeepSeek-V2": (sizes("MLA", 60, 128, 128, 128, 512, 64), 34_560),
        "GPT-3 175B": (sizes("MHA", 96, 96, 96, 128), 2_359_296),
    }
    for config, want in models.values():
        expect(answer.elements_per_token(config), want, counts_with_slips(config))


def contexts_with_slips(per_token, memory, weights, batch, itemsize):
    left, each = memory - weights, per_token * batch * itemsize
    return {
        NO_WEIGHTS: memory // each,
        WEIGHTS_BY_ITEMSIZE: max((memory - weights * itemsize) // each, 0),
        WEIGHTS_BY_BATCH: max((memory - weights * batch) // each, 0),
        NO_BATCH: max(left // (per_token * itemsize), 0),
        NO_ITEMSIZE: max(left // (per_token * batch), 0),
        ROUNDED: max(math.ceil(left / each), 0),
        NEGATIVE: left // each,
    }


def test_longest_context_by_hand(answer):
    # 60 numbers a token; for 2 texts, 4 bytes each, that is 480 bytes. 10,000 / 480 = 20.8….
    config = sizes("MQA")
    mistakes = contexts_with_slips(60, 12_000, 2_000, 2, 4)
    expect(answer.longest_context(config, 12_000, 2_000, 2, 4), 20, mistakes)


def test_longest_context_of_a_large_model_by_design(answer):
    # 70 billion weights of 2 bytes on GPUs with 160 GB in all, and 3 texts at once.
    memory, weights = 160 * 10**9, 140 * 10**9
    wants = {"MHA": 2_543, "GQA": 20_345, "MQA": 162_760, "MLA": 72_337}
    for design, want in wants.items():
        config = sizes(design, 80, 64, 8, 128, 512, 64)
        per_token = {"MHA": 1_310_720, "GQA": 163_840, "MQA": 20_480, "MLA": 46_080}[design]
        mistakes = contexts_with_slips(per_token, memory, weights, 3, 2)
        got = answer.longest_context(config, memory, weights, 3, 2)
        expect(got, want, mistakes)


def test_the_last_token_must_fit_wholly_and_no_memory_is_no_token(answer):
    config = sizes("MLA")  # 138 numbers a token, 276 bytes
    cases = (1_827, 1_000, 2), (1_828, 1_000, 3), (1_275, 1_000, 0), (900, 1_000, 0)
    for memory, weights, want in (*cases, (1_000, 1_000 + 5 * 276, 0), (50, 100_000, 0)):
        mistakes = contexts_with_slips(138, memory, weights, 1, 2)
        expect(answer.longest_context(config, memory, weights, 1, 2), want, mistakes)


def pooled_by_loops(W, n_h, n_kv, slip=None):
    D, H, size = len(W), W.shape[1] // n_h, n_h // n_kv
    if slip in ("rows", "piled"):
        pooled = W.reshape(n_kv, size, D, H).mean(axis=1)
        return (pooled.swapaxes(0, 1) if slip == "rows" else pooled).reshape(D, -1)
    out = np.zeros((D, n_kv * H))
    for new in range(n_kv):
        group = [new * size + j for j in range(size)]
        if slip == "apart":
            group = list(range(new, n_h, n_kv))
        for h in range(H):
            if slip == "mixed":
                columns = [W[:, h * n_h + head] for head in group]
            else:
                columns = [W[:, head * H + h] for head in group]
            columns = columns[:1] if slip == "first" else columns
            divisor = 1 if slip == "sum" else len(columns)
            out[:, new * H + h] = sum(columns) / divisor
    return out.astype(W.dtype)


def pooled_slips(*arguments):
    names = {POOLED_SUM: "sum", POOLED_FIRST: "first", POOLED_APART: "apart", POOLED_MIXED: "mixed"}
    names |= {POOLED_ROWS: "rows", POOLED_PILED: "piled"}
    return {
        words: lambda slip=slip: pooled_by_loops(*arguments, slip) for words, slip in names.items()
    }


def test_heads_are_pooled_by_hand(answer):
    # Heads [1, 2], [3, 6], [5, 0], [9, 2] in the first row: two groups of two neighbours.
    W = np.array(
        [[1.0, 2.0, 3.0, 6.0, 5.0, 0.0, 9.0, 2.0], [0.0, 4.0, 2.0, 8.0, 1.0, 1.0, 3.0, 5.0]]
    )
    want = np.array([[2.0, 4.0, 7.0, 1.0], [1.0, 6.0, 2.0, 3.0]])
    expect(answer.pool_heads(W, 4, 2), want, pooled_slips(W, 4, 2))


def test_pooled_heads_agree_with_a_loop_over_columns(answer, rng):
    for D, n_h, n_kv, H, dtype in (
        (5, 6, 2, 3, float),
        (4, 6, 3, 2, np.float32),
        (3, 8, 1, 2, float),
    ):
        W = rng.normal(size=(D, n_h * H)).astype(dtype)
        want = pooled_by_loops(W, n_h, n_kv)
        expect(answer.pool_heads(W, n_h, n_kv), want, pooled_slips(W, n_h, n_kv))


def test_a_pooled_key_is_the_mean_of_the_keys_of_its_group(answer, rng):
    x, W = rng.normal(size=(4, 5)), rng.normal(size=(5, 12))  # 6 heads of width 2
    keys = (x @ W).reshape(4, 6, 2)
    want = np.stack([keys[:, :3].mean(axis=1), keys[:, 3:].mean(axis=1)], axis=1)
    pooled = answer.pool_heads(W, 6, 2)
    expect(pooled, pooled_by_loops(W, 6, 2), pooled_slips(W, 6, 2))
    expect((x @ pooled).reshape(4, 2, 2), want)


def test_two_groups_of_three_heads_by_hand(answer):
    # One token before, one new. All scores are 0, so each head takes the mean of its two values.
    q = np.zeros((1, 6, 1, 2))
    k = np.array([[[[3.0, 1.0], [2.0, 5.0]], [[4.0, 0.0], [1.0, 1.0]]]])
    v = np.array([[[[2.0, 0.0], [4.0, 6.0]], [[10.0, 1.0], [20.0, 3.0]]]])
    want = np.array([[[[3.0, 3.0]]] * 3 + [[[15.0, 2.0]]] * 3])
    expect(answer.grouped_attention(q, k, v), want, grouped_slips(q, k, v))


def test_grouped_attention_agrees_with_a_loop_over_query_heads(answer, rng):
    for B, n_h, n_kv, L, T, H in ((2, 6, 2, 3, 5, 4), (1, 6, 3, 1, 4, 2), (3, 4, 2, 2, 2, 5)):
        q = rng.normal(size=(B, n_h, L, H))
        k, v = rng.normal(size=(2, B, n_kv, T, H))
        want = grouped_by_loops(q, k, v)
        expect(answer.grouped_attention(q, k, v), want, grouped_slips(q, k, v))


def test_the_same_function_is_mha_and_mqa(answer, rng):
    for n_kv in (6, 1):
        q = rng.normal(size=(2, 6, 3, 4))
        k, v = rng.normal(size=(2, 2, n_kv, 5, 4))
        want = grouped_by_loops(q, k, v)
        expect(answer.grouped_attention(q, k, v), want, grouped_slips(q, k, v))


def test_grouped_attention_keeps_float32(answer, rng):
    q = rng.normal(size=(2, 6, 3, 5)).astype(np.float32)
    k, v = rng.normal(size=(2, 2, 2, 6, 5)).astype(np.float32)
    wide = grouped_by_loops(q, k, v).astype(np.float64)
    got = answer.grouped_attention(q, k, v)
    mistakes = {MADE_WIDE: wide} | grouped_slips(q, k, v)
    expect(got, wide.astype(np.float32), mistakes, tolerance=1e-5)


def two_tokens():
    """Arguments by hand: d_c = 3, H = 2, d_R = 1.

    Head 0's keys are [2, 5, 1] and [4, 6, 3], and its query [1, -2, 0] gives both -8: weights 1/2.
    Head 1's query looks at k_R alone, 1 and 3, so hard that it sees only the second token.
    """
    q = np.array([[[[1.0, -2.0]], [[0.0, 0.0]]]])
    q_R = np.array([[[[0.0]], [[100.0]]]])
    cache = np.array([[[1.0, 0.0, 2.0, 1.0], [2.0, 4.0, 0.0, 3.0]]])
    W_UK = np.array([[[2.0, 1.0], [0.0, 1.0], [0.0, 2.0]], [[1.0, 3.0], [4.0, 1.0], [5.0, 9.0]]])
    W_UV = np.array([[[2.0, 0.0], [1.0, 1.0], [0.0, 1.0]], [[0.0, 1.0], [3.0, 0.0], [7.0, 2.0]]])
    return q, q_R, cache, W_UK, W_UV


def test_latent_attention_of_two_tokens_by_hand(answer):
    arguments = two_tokens()
    # Head 0 has the values [2, 2] and [8, 4]; head 1's second value is [12, 2].
    want = np.array([[[[5.0, 3.0]], [[12.0, 2.0]]]])
    expect(answer.latent_attention(*arguments), want, latent_slips(*arguments))


def test_latent_attention_agrees_with_a_loop_over_heads(answer, rng):
    for B, n_h, L, T, H, d_c, d_R in ((2, 3, 2, 5, 4, 6, 2), (1, 5, 1, 4, 2, 3, 4)):
        arguments = latent_arguments(rng, B, n_h, L, T, H, d_c, d_R)
        want = latent_by_loops(*arguments)
        expect(answer.latent_attention(*arguments), want, latent_slips(*arguments))


def test_latent_attention_of_a_whole_text_hides_later_tokens(answer, rng):
    arguments = latent_arguments(rng, 2, 3, 6, 6, 4, 5, 2)
    want = latent_by_loops(*arguments)
    expect(answer.latent_attention(*arguments), want, latent_slips(*arguments))


def test_latent_attention_keeps_float32(answer, rng):
    arguments = latent_arguments(rng, 2, 2, 3, 4, 3, 5, 2, np.float32)
    wide = latent_by_loops(*arguments).astype(np.float64)
    got = answer.latent_attention(*arguments)
    mistakes = {MADE_WIDE: wide} | latent_slips(*arguments)
    expect(got, wide.astype(np.float32), mistakes, tolerance=1e-5)


def test_absorbed_attention_of_two_tokens_by_hand(answer):
    arguments = two_tokens()
    # Head 0: 1 · [2, 0, 0] − 2 · [1, 1, 2], and the mean of both latents.
    queries = np.array([[[[0.0, -2.0, -4.0, 0.0]], [[0.0, 0.0, 0.0, 100.0]]]])
    mixed = np.array([[[[1.5, 2.0, 1.0]], [[2.0, 4.0, 0.0]]]])
    want = queries, mixed, np.array([[[[5.0, 3.0]], [[12.0, 2.0]]]])
    got = answer.absorbed_attention(*arguments)
    check_absorbed(got, *arguments)
    expect(got, want)


def test_absorbed_attention_agrees_with_a_loop_that_makes_every_key(answer, rng):
    for B, n_h, L, T, H, d_c, d_R in ((2, 3, 2, 5, 4, 6, 2), (1, 5, 1, 4, 2, 3, 4)):
        arguments = latent_arguments(rng, B, n_h, L, T, H, d_c, d_R)
        check_absorbed(answer.absorbed_attention(*arguments), *arguments)


def test_absorbed_attention_of_a_whole_text_hides_later_tokens(answer, rng):
    arguments = latent_arguments(rng, 2, 3, 6, 6, 4, 5, 2)
    check_absorbed(answer.absorbed_attention(*arguments), *arguments)


def test_absorbed_attention_keeps_float32(answer, rng):
    arguments = latent_arguments(rng, 2, 2, 3, 4, 3, 5, 2, np.float32)
    check_absorbed(answer.absorbed_attention(*arguments), *arguments)
