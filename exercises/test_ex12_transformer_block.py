"""Tests of exercise 12: the transformer block, first as drawn, then with its four repairs."""

import itertools
import math

import numpy as np

from minigrad.course.testing import expect

# The references below loop over heads and positions one by one, and leave out what a mask hides.


def softmax_of_a_row(row):
    top = max(row)
    powers = [math.exp(s - top) for s in row]
    return [p / sum(powers) for p in powers]


def attend(q, k, v, allowed, divisor=None):
    """One head of one text: q (Lq, H), k and v (Lk, H); allowed(i, j): may query i see key j?"""
    divisor = divisor or math.sqrt(q.shape[1])
    y = np.zeros((len(q), v.shape[1]))
    for i in range(len(q)):
        seen = [j for j in range(len(k)) if allowed(i, j)]
        weights = softmax_of_a_row([float(np.dot(q[i], k[j])) / divisor for j in seen])
        for j, weight in zip(seen, weights):
            y[i] += weight * v[j]
    return y


def every_head(q, k, v, allowed=lambda i, j: True, divisor=None):
    """q (B, n_h, Lq, H), k and v (B, n_h, Lk, H)."""
    y = np.zeros((*q.shape[:3], v.shape[3]))
    for b in range(q.shape[0]):
        for head in range(q.shape[1]):
            y[b, head] = attend(q[b, head], k[b, head], v[b, head], allowed, divisor)
    return y


def norm_of_a_row(row, gamma, slip=None):
    n, epsilon = len(row), 0.0 if slip == "no epsilon" else 1e-5
    mean = 0.0 if slip == "mean kept" else sum(row) / n
    variance = sum((number - mean) ** 2 for number in row) / (n - (slip == "n - 1"))
    size = math.sqrt(variance + epsilon)
    if slip == "variance":
        size = variance + epsilon
    elif slip == "epsilon outside":
        size = math.sqrt(variance) + epsilon
    return np.array([(number - mean) / size * g for number, g in zip(row, gamma)])


def norm_of_a_table(table, gamma, slip=None):
    """table (L, D), row by row."""
    if slip == "along the tokens":
        columns = zip(table.T, gamma)
        return np.stack([norm_of_a_row(c, [g] * len(table)) for c, g in columns], axis=1)
    if slip == "one mean for all":
        numbers = norm_of_a_row(table.ravel(), np.ones(table.size))
        return numbers.reshape(table.shape) * gamma
    gamma = np.ones_like(gamma) if slip == "no gain" else gamma
    return np.stack([norm_of_a_row(row, gamma, slip) for row in table])


def attention_layer(h, W, n_h, allowed, slip=None):
    """h (L, D) of one text; each head reads and writes its own H columns."""
    Q, K, V = h @ W["W_Q"], h @ W["W_K"], h @ W["W_V"]
    H = h.shape[1] // n_h
    merged = np.zeros(h.shape)
    for head in range(n_h):
        own = slice(head * H, (head + 1) * H)
        merged[:, own] = attend(Q[:, own], K[:, own], V[:, own], allowed)
    if slip == "merged by a reshape":
        merged = np.concatenate(np.split(merged, n_h, axis=1)).reshape(h.shape)
    return merged @ W["W_O"]


def mlp_layer(h, W, slip=None):
    hidden = h @ W["W_1"]
    if slip == "gelu":  # in the form that needs no error function
        turn = np.tanh(math.sqrt(2 / math.pi) * (hidden + 0.044715 * hidden**3))
        return (hidden * (1 + turn) / 2) @ W["W_2"]
    out = (hidden if slip == "no relu" else hidden * (hidden > 0)) @ W["W_2"]
    return out * (out > 0) if slip == "relu twice" else out


def block_of_a_text(text, W, n_h, residual, norm, positions, mask, slip):
    """The block of one text (L, D), row by row. ``slip`` names a mistake to make."""
    L, x = len(text), text.copy()
    if positions and slip != "inside the layer only":
        row_of_P = {"backwards": lambda i: L - 1 - i, "last rows": lambda i: i - L}
        for i in range(L):
            x[i] += W["P"][row_of_P.get(slip, int)(i)]
    first = x  # what the first layer gets

    def seen(i, j):
        return not mask or (j >= i if slip == "the future" else j <= i)

    layers = {
        "gamma_1": lambda h: attention_layer(h, W, n_h, seen, slip),
        "gamma_2": lambda h: mlp_layer(h, W, slip),
    }
    for number, (gamma, layer) in enumerate(layers.items()):
        if slip == "post-norm":
            y = x + layer(x) if residual else layer(x)
            x = norm_of_a_table(y, W[gamma]) if norm else y
            continue
        normed = norm and not (slip == "no second norm" and number == 1)
        h = norm_of_a_table(x, W[gamma], slip) if normed else x
        starts = {  # what attention, and what the MLP is added to
            "from the norm": (h, h),
            "from the input": (first, first),
            "attention only": (x, 0),
            "MLP only": (0, x),
            "around both": (0, first),
        }
        start = starts.get(slip, (x, x))[number] if residual else 0
        if slip == "inside the layer only" and positions and number == 0:
            h = h + W["P"][:L]
        x = start + layer(h)
    return x


def block_by_loops(x, W, n_h, residual=False, norm=False, positions=False, mask=False, slip=None):
    """x (..., L, D), one text after the other."""
    switches = residual, norm, positions, mask
    texts = x.reshape(-1, *x.shape[-2:])
    return np.reshape([block_of_a_text(t, W, n_h, *switches, slip) for t in texts], x.shape)


def slips(names, *arguments, **switches):
    """The mistakes {words: the block with this slip}, to be worked out where they are needed."""
    return {
        words: lambda slip=slip: block_by_loops(*arguments, **switches, slip=slip)
        for words, slip in names.items()
    }


def weights(rng, D, context_length):
    """Everything that ``block`` may find in W."""
    shapes = dict(W_Q=(D, D), W_K=(D, D), W_V=(D, D), W_O=(D, D), W_1=(D, 4 * D), W_2=(4 * D, D))
    W = {name: rng.normal(size=shape) / math.sqrt(shape[0]) for name, shape in shapes.items()}
    W |= {name: rng.uniform(0.5, 1.5, size=D) for name in ("gamma_1", "gamma_2")}
    return W | {"P": rng.normal(size=(context_length, D))}


ALL_REPAIRS = dict(residual=True, norm=True, positions=True, mask=True)


def one_switch_turned(x, W, n_h, **switches):
    """The mistakes {words: the block with one switch the other way}."""
    mistakes = {}
    for name in ALL_REPAIRS:
        on = switches.get(name, False)
        words = f"{name}={on}, but the block is as if it were {not on}"
        mistakes[words] = lambda s=switches | {name: not on}: block_by_loops(x, W, n_h, **s)
    return mistakes


WRONG_AXIS = "the softmax runs along the wrong axis"
TOO_LARGE = "the largest score of the row is not subtracted first, so that exp overflows"
TOP_LEFT = "the mask is aligned top left: the last query does not see the last keys"
TRANSPOSED_MASK = "the mask is transposed: it hides the past and shows the future"
WIDTH_OF_THE_MODEL = "the scores are divided by √D, the model's width, not by √H, the head's"
MASKED_WITH_ZERO = "masked scores are set to 0, not to −∞, so that masked keys keep a weight"
RESHAPED_ONLY = "the heads are split by a reshape alone, which mixes tokens: an axis has to move"
MERGED_BY_RESHAPE = "the heads are merged without moving their axis back behind the tokens"
POST_NORM = "the norm comes after the layer (post-norm), not before it (pre-norm)"
FROM_THE_NORM = "the residual starts from norm(x), not from x"
POSITIONS_INSIDE = "positions reach attention only: they belong to x itself, before all else"
ALL_MASKED = "all is masked: without a mask attention is to get None, not False"
NOT_OWN_LARGEST = "what is subtracted is not the row's own largest score, and small rows underflow"


def test_softmax_of_two_rows_by_hand(answer):
    # Row 0: exp gives 1 and 3, of 4. Row 1: exp gives 4 and 1, of 5.
    scores = np.array([[0.0, math.log(3)], [math.log(4), 0.0]])
    expect(
        answer.softmax(scores),
        np.array([[0.25, 0.75], [0.8, 0.2]]),
        mistakes={
            WRONG_AXIS: np.array([[1 / 5, 3 / 4], [4 / 5, 1 / 4]]),
            "the weights of all rows together sum to 1, not those of each": np.array(
                [[1 / 9, 3 / 9], [4 / 9, 1 / 9]]
            ),
            "the powers are not divided by their sum": np.array([[1.0, 3.0], [4.0, 1.0]]),
        },
    )


def test_softmax_treats_each_row_for_itself_under_any_batch_axes(answer, rng):
    for shape in ((7,), (2, 5), (2, 3, 4, 5)):
        scores = rng.normal(size=shape)
        rows = scores.reshape(-1, shape[-1])
        want = np.array([softmax_of_a_row(row) for row in rows.tolist()]).reshape(shape)
        powers = np.exp(scores)
        expect(
            answer.softmax(scores),
            want,
            mistakes={
                WRONG_AXIS: lambda p=powers: p / p.sum(axis=max(-2, -p.ndim), keepdims=True),
                "the weights of all rows together sum to 1, not those of each": powers
                / powers.sum(),
            },
        )


def test_softmax_of_large_scores_does_not_overflow(answer):
    # Only the distances within a row count: these are the rows of the first test, moved.
    want = np.array([[0.25, 0.75], [0.8, 0.2]])
    near = np.array([[0.0, math.log(3)], [math.log(4), 0.0]])

    def overflowing(scores):
        with np.errstate(all="ignore"):
            return np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)

    for far in (np.array([[1000.0], [-1000.0]]), np.array([[-1e4], [1e4]])):
        scores = near + far
        expect(
            answer.softmax(scores),
            want,
            mistakes={
                TOO_LARGE: lambda s=scores: overflowing(s),
                NOT_OWN_LARGEST: lambda s=scores: overflowing(s - s.max()),
            },
        )
    wide = np.array([[0.0, 2000.0, 0.0], [-2000.0, 0.0, -2000.0]])
    expect(
        answer.softmax(wide),
        np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]),
        mistakes={
            "what is subtracted is far below the row's largest score, so that exp overflows": (
                lambda: overflowing(wide - wide.mean(axis=-1, keepdims=True))
            ),
        },
    )
    single = np.array([150.0, 150.0 + math.log(3)], dtype=np.float32)  # exp ends at 88 here
    expect(
        answer.softmax(single),
        np.array([0.25, 0.75], dtype=np.float32),
        tolerance=1e-4,  # a float32 near 150 is rounded to 1e-5
        mistakes={TOO_LARGE: np.full(2, np.nan, dtype=np.float32)},
    )


def test_a_score_of_minus_infinity_gets_the_weight_zero(answer):
    scores = np.array([[math.log(2), -np.inf, 0.0], [-np.inf, -np.inf, 5.0]])
    got = answer.softmax(scores)
    expect(
        got,
        np.array([[2 / 3, 0.0, 1 / 3], [0.0, 0.0, 1.0]]),
        mistakes={
            "hidden keys get a weight": np.array(
                [[2 / 4, 1 / 4, 1 / 4], [*[1 / (2 + math.exp(5))] * 2, 1 / (1 + 2 * math.exp(-5))]]
            )
        },
    )
    hidden = got[np.isneginf(scores)]
    mistakes = {"the weight of a score of −∞ is small, but not exactly 0": hidden}
    expect(hidden, np.zeros(3), mistakes, tolerance=0)


def test_causal_mask_of_four_tokens(answer):
    want = [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]
    want = np.array(want, dtype=bool)
    expect(
        answer.causal_mask(4, 4),
        want,
        mistakes={
            TRANSPOSED_MASK: want.T,
            "a token does not see itself": np.array(
                [[j < i for j in range(4)] for i in range(4)], dtype=bool
            ),
            "True and False are exchanged: True is where a query may look": ~want,
            "the mask holds 0 and −∞, to be added to the scores; asked for is bool": np.where(
                want, 0.0, -np.inf
            ),
            "the mask holds the numbers 0 and 1; asked for is bool": want.astype(float),
        },
    )


def test_the_last_query_sees_all_keys_when_there_are_more_keys(answer):
    by_hand = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], dtype=bool)
    for Lq, Lk in ((2, 5), (1, 6), (3, 4), (1, 1), (5, 5)):
        want = np.zeros((Lq, Lk), dtype=bool)
        for i in range(Lq):
            for j in range(Lk):
                want[i, j] = j <= i + Lk - Lq
        if (Lq, Lk) == (2, 5):
            assert (want == by_hand).all()
        top_left = np.array([[j <= i for j in range(Lk)] for i in range(Lq)], dtype=bool)
        expect(
            answer.causal_mask(Lq, Lk),
            want,
            mistakes={
                TOP_LEFT: top_left,
                "the last query sees no more than the first, all keys before the new ones": (
                    np.array([[j < Lk - Lq for j in range(Lk)]] * Lq, dtype=bool)
                ),
            },
        )


def test_attention_of_one_query_by_hand(answer):
    # One text, two heads of width 4, one query, two keys.
    # Head 0: q·k is 0 for the first key and 2 ln 3 for the second; divided by √4, 0 and ln 3.
    # Head 1: the query is 0, so both keys get the same weight.
    q = np.array([[[[1.0, 1.0, 1.0, 1.0]], [[0.0, 0.0, 0.0, 0.0]]]])  # (1, 2, 1, 4)
    k = np.zeros((1, 2, 2, 4))
    k[0, 0, 1] = [2 * math.log(3), 0.0, 0.0, 0.0]
    k[0, 1] = [[1.0, 2.0, 3.0, 4.0], [9.0, 8.0, 7.0, 6.0]]
    v = np.zeros((1, 2, 2, 4))
    v[0, 0] = [[4.0, 0.0, 0.0, 8.0], [0.0, 4.0, 0.0, 8.0]]
    v[0, 1] = [[2.0, 0.0, 6.0, 0.0], [0.0, 2.0, 6.0, 4.0]]
    want = np.array([[[[1.0, 3.0, 0.0, 8.0]], [[1.0, 1.0, 6.0, 2.0]]]])
    by_columns = np.zeros((1, 2, 1, 4))
    by_columns[0, :, 0] = v[0].sum(axis=1)
    expect(
        answer.attention(q, k, v),
        want,
        mistakes={
            WIDTH_OF_THE_MODEL: lambda: every_head(q, k, v, divisor=math.sqrt(8)),
            "the scores are not divided by √H": lambda: every_head(q, k, v, divisor=1.0),
            "the scores are divided by H, not by its root": lambda: every_head(
                q, k, v, divisor=4.0
            ),
            "the scores are divided by √Lk, the number of keys": lambda: every_head(
                q, k, v, divisor=math.sqrt(2)
            ),
            WRONG_AXIS: by_columns,
        },
    )


def test_attention_agrees_with_a_loop_over_heads_and_positions(answer, rng):
    B, n_h, Lq, Lk, H = 2, 3, 5, 6, 4
    q = rng.normal(size=(B, n_h, Lq, H))
    k, v = rng.normal(size=(2, B, n_h, Lk, H))

    def over_the_queries():
        S = np.exp(np.einsum("bnih,bnjh->bnij", q, k) / math.sqrt(H))
        return np.einsum("bnij,bnjh->bnih", S / S.sum(axis=2, keepdims=True), v)

    expect(
        answer.attention(q, k, v),
        every_head(q, k, v),
        mistakes={
            WIDTH_OF_THE_MODEL: lambda: every_head(q, k, v, divisor=math.sqrt(n_h * H)),
            "the scores are not divided by √H": lambda: every_head(q, k, v, divisor=1.0),
            "the scores are divided by H, not by its root": lambda: every_head(q, k, v, divisor=H),
            WRONG_AXIS: over_the_queries,
            "the values are taken for keys": lambda: every_head(q, v, v),
            "the keys are mixed, not the values": lambda: every_head(q, k, k),
            "the softmax is missing": lambda: np.einsum(
                "bnih,bnjh,bnjd->bnid", q, k, v / math.sqrt(H)
            ),
        },
    )


def test_a_key_behind_the_mask_has_no_weight(answer, rng):
    B, n_h, L, H = 2, 3, 4, 5
    q, k, v = rng.normal(size=(3, B, n_h, L, H))
    # Any mask, not only a causal one; every query sees its own key at least.
    mask = np.array([[1, 0, 0, 1], [1, 1, 0, 0], [0, 0, 1, 0], [1, 1, 0, 1]], dtype=bool)
    unmasked = np.einsum("bnih,bnjh->bnij", q, k) / math.sqrt(H)

    def mix(scores, weight=1.0):
        A = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
        return np.einsum("bnij,bnjh->bnih", A * weight, v)

    expect(
        answer.attention(q, k, v, mask),
        every_head(q, k, v, lambda i, j: mask[i, j]),
        mistakes={
            MASKED_WITH_ZERO: lambda: mix(unmasked * mask),
            "the weights are masked after the softmax, and no longer sum to 1": lambda: mix(
                unmasked, mask
            ),
            "the mask is transposed": lambda: every_head(q, k, v, lambda i, j: mask[j, i]),
            "the mask is read the wrong way round: True is where a query may look": (
                lambda: every_head(q, k, v, lambda i, j: not mask[i, j])
            ),
            "the mask is ignored": lambda: mix(unmasked),
            "the mask is added to the scores as a number": lambda: mix(unmasked + mask),
        },
    )
    # One head of width 1. The scores of keys 0 and 1 are alike, and far below that of key 2, which
    # is masked.
    far, values = np.array([[[-1e12], [-1e12], [8.0]]]), np.array([[[2.0], [4.0], [9.0]]])
    expect(
        answer.attention(np.ones((1, 1, 1)), far, values, np.array([[True, True, False]])),
        np.array([[[3.0]]]),
        mistakes={
            "masked scores are set to a number, not to −∞: others may be smaller still": np.array(
                [[[9.0]]]
            ),
            "the mask comes after exp, when a large masked score has pushed all others down to 0": (
                np.array([[[np.nan]]])
            ),
        },
    )


def test_attention_works_with_fewer_queries_than_keys_under_a_mask(answer, rng):
    B, n_h, Lq, Lk, H = 2, 3, 2, 5, 4
    q = rng.normal(size=(B, n_h, Lq, H))
    k, v = rng.normal(size=(2, B, n_h, Lk, H))
    mask = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]], dtype=bool)
    expect(
        answer.attention(q, k, v, mask),
        every_head(q, k, v, lambda i, j: mask[i, j]),
        mistakes={
            "the mask is ignored": lambda: every_head(q, k, v),
            TOP_LEFT: lambda: every_head(q, k, v, lambda i, j: j <= i),
        },
    )


def test_attention_works_under_any_batch_axes_and_in_float32(answer, rng):
    q, k, v = rng.normal(size=(3, 2, 2, 3, 4, 5))  # (B1, B2, n_h, L, H) each
    want = np.stack([every_head(*parts) for parts in zip(q, k, v)])
    expect(answer.attention(q, k, v), want)
    expect(answer.attention(q[1, 0], k[1, 0], v[1, 0]), want[1, 0])  # no batch axis
    single = [array.astype(np.float32) for array in (q[0], k[0], v[0])]
    expect(
        answer.attention(*single),
        want[0].astype(np.float32),
        tolerance=1e-5,
        mistakes={
            "np.sqrt of an integer is a float64, and so is all that it divides: math.sqrt is not": (
                want[0]
            )
        },
    )


def test_split_heads_of_two_rows_by_hand(answer):
    x = np.array([[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [7.0, 8.0, 9.0, 10.0, 11.0, 12.0]]])  # (1, 2, 6)
    want = [[[1, 2], [7, 8]], [[3, 4], [9, 10]], [[5, 6], [11, 12]]]
    expect(
        answer.split_heads(x, 3),
        np.array([want], dtype=float),
        mistakes={
            RESHAPED_ONLY: x.reshape(1, 3, 2, 2),
            "the heads stand behind the tokens: their axis has to move before them": x.reshape(
                1, 2, 3, 2
            ),
            "a head takes every third number of a row, not neighbours": x.reshape(
                1, 2, 2, 3
            ).transpose(0, 3, 1, 2),
        },
    )


def test_split_heads_agrees_with_a_loop_under_any_batch_axes(answer, rng):
    for batch, L, n_h, H in (((2,), 5, 3, 4), ((), 5, 4, 3), ((3, 2), 4, 2, 5), ((2,), 3, 1, 4)):
        D = n_h * H
        x = rng.normal(size=(*batch, L, D))
        want = np.zeros((*batch, n_h, L, H))
        for head in range(n_h):
            for h in range(H):
                want[..., head, :, h] = x[..., head * H + h]
        expect(
            answer.split_heads(x, n_h),
            want,
            mistakes={
                RESHAPED_ONLY: x.reshape(*batch, n_h, L, H),
                "n_h is taken for the width of a head": lambda x=x, s=(*batch, L, H, n_h): (
                    x.reshape(s).swapaxes(-2, -3)
                ),
            },
        )


def test_merge_heads_of_two_rows_by_hand(answer):
    y = [[[1, 2], [7, 8]], [[3, 4], [9, 10]], [[5, 6], [11, 12]]]
    y = np.array([y], dtype=float)  # (1, 3, 2, 2)
    expect(
        answer.merge_heads(y),
        np.array([[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [7.0, 8.0, 9.0, 10.0, 11.0, 12.0]]]),
        mistakes={
            MERGED_BY_RESHAPE: y.reshape(1, 2, 6),
            "the numbers of the heads are interleaved, not side by side": y.transpose(
                0, 2, 3, 1
            ).reshape(1, 2, 6),
        },
    )


def test_merge_heads_undoes_a_split_under_any_batch_axes(answer, rng):
    for batch, L, n_h, H in (((2,), 5, 3, 4), ((), 5, 4, 3), ((3, 2), 4, 2, 5), ((2,), 3, 1, 4)):
        x = rng.normal(size=(*batch, L, n_h * H))
        y = np.zeros((*batch, n_h, L, H))
        for head in range(n_h):
            y[..., head, :, :] = x[..., head * H : (head + 1) * H]
        expect(
            answer.merge_heads(y),
            x,
            mistakes={MERGED_BY_RESHAPE: y.reshape(x.shape)},
        )


def test_block_as_drawn_of_one_token_by_hand(answer):
    # A token alone attends to itself, with the weight 1: so Y = x·W_V.
    x = np.array([[[1.0, 2.0]]])  # (1, 1, 2)
    W = {
        "W_Q": np.array([[5.0, 1.0], [2.0, 3.0]]),
        "W_K": np.array([[1.0, 4.0], [0.0, 2.0]]),
        "W_V": np.array([[1.0, 0.0], [1.0, 2.0]]),  # Y = (3, 4)
        "W_O": np.array([[0.0, 1.0], [1.0, -2.0]]),  # O = (4, -5)
        "W_1": np.array([[1.0, 0, 0, 0, 0, 0, 0, 2.0], [0, 1.0, 0, 0, 0, 0, 0, 1.0]]),
        "W_2": np.zeros((8, 2)),  # O·W_1 = (4, -5, 0, 0, 0, 0, 0, 3), of which ReLU keeps 4 and 3
        "gamma_1": np.array([2.0, 3.0]),
        "gamma_2": np.array([3.0, 2.0]),
        "P": np.array([[0.5, 0.25]]),
    }
    W["W_2"][[0, 1, 7]] = [[1.0, 10.0], [7.0, 7.0], [2.0, -1.0]]
    expect(
        answer.block(x, W, 1),
        np.array([[[10.0, 37.0]]]),  # 4·(1, 10) + 3·(2, -1)
        mistakes={
            "the ReLU of the MLP is missing": np.array([[[-25.0, 2.0]]]),
            "W_O is left out": np.array([[[51.0, 48.0]]]),
            "the MLP reads x, not what attention gives": np.array([[[23.0, 20.0]]]),
            ALL_MASKED: np.full((1, 1, 2), np.nan),
        }
        | slips({"the MLP has a GELU, not a ReLU": "gelu"}, x, W, 1)
        | one_switch_turned(x, W, 1),
    )


def test_block_as_drawn_agrees_with_a_loop(answer, rng):
    B, L, D, n_h = 2, 5, 12, 3
    x, W = rng.normal(size=(B, L, D)), weights(rng, D, 8)
    want = block_by_loops(x, W, n_h)
    order = rng.permutation(L)
    names = {
        "the ReLU of the MLP is missing": "no relu",
        "the MLP has a GELU, not a ReLU": "gelu",
        "there is a ReLU behind W_2 too": "relu twice",
        MERGED_BY_RESHAPE: "merged by a reshape",
    }
    mistakes = {
        "the block has one head only": lambda: block_by_loops(x, W, 1),
        "W_Q and W_K are exchanged": lambda: block_by_loops(
            x, W | {"W_Q": W["W_K"], "W_K": W["W_Q"]}, n_h
        ),
        ALL_MASKED: np.full(x.shape, np.nan),
    }
    mistakes |= slips(names, x, W, n_h) | one_switch_turned(x, W, n_h)
    expect(answer.block(x, W, n_h), want, mistakes)
    expect(answer.block(x[:, order], W, n_h), want[:, order])  # shuffled in, shuffled out
    expect(answer.block(x[0], W, n_h), want[0])  # one text, without an axis for the batch


def test_first_repair_the_residual(answer, rng):
    B, L, D, n_h = 2, 4, 6, 2
    x, W = rng.normal(size=(B, L, D)), weights(rng, D, 7)
    names = {
        "the second residual starts from the block's input, not from what attention left": (
            "from the input"
        ),
        "only attention has a residual, the MLP has none": "attention only",
        "only the MLP has a residual, attention has none": "MLP only",
        "one residual leads around both layers; each is to have its own": "around both",
    }
    expect(
        answer.block(x, W, n_h, residual=True),
        block_by_loops(x, W, n_h, residual=True),
        mistakes=one_switch_turned(x, W, n_h, residual=True)
        | slips(names, x, W, n_h, residual=True),
    )


def test_second_repair_the_norm_comes_before_the_layer(answer, rng):
    L, D, n_h = 5, 6, 3
    W = weights(rng, D, 7)
    names = {
        POST_NORM: "post-norm",
        FROM_THE_NORM: "from the norm",
        "mean and variance are taken along the tokens, not along D": "along the tokens",
        "one mean and one variance are taken of all rows together; each has its own": (
            "one mean for all"
        ),
        "the mean is not subtracted": "mean kept",
        "norm divides by the variance, not by its root": "variance",
        "the variance is divided by D − 1, not by D": "n - 1",
        "1e-5 is not added to the variance": "no epsilon",
        "1e-5 is added to the root, not to the variance under it": "epsilon outside",
        "the gains γ are left out": "no gain",
        "only attention reads norm(x), the MLP reads x itself": "no second norm",
    }
    for B, residual in ((1, True), (2, False)):
        x = 3 * rng.normal(size=(B, L, D)) + 1
        switches = dict(residual=residual, norm=True)
        gains = {
            "γ of the two layers are exchanged": {
                "gamma_1": W["gamma_2"],
                "gamma_2": W["gamma_1"],
            },
            'both norms have the gain W["gamma_1"]': {"gamma_2": W["gamma_1"]},
        }
        expect(
            answer.block(x, W, n_h, **switches),
            block_by_loops(x, W, n_h, **switches),
            mistakes=one_switch_turned(x, W, n_h, **switches)
            | slips(names, x, W, n_h, **switches)
            | {
                words: lambda x=x, s=switches, gain=gain: block_by_loops(x, W | gain, n_h, **s)
                for words, gain in gains.items()
            },
        )


def test_third_repair_the_positions_tell_two_orders_apart(answer, rng):
    L, D, n_h = 4, 6, 2
    x, W = rng.normal(size=(3, L, D)), weights(rng, D, 7)
    x[1] = x[0, ::-1]  # the same tokens in another order
    names = {
        POSITIONS_INSIDE: "inside the layer only",
        "the rows of P are added in the wrong order": "backwards",
        "the last L rows of P are added, not the first": "last rows",
    }
    for switches in (dict(), dict(residual=True, norm=True)):
        got = answer.block(x, W, n_h, positions=True, **switches)
        expect(
            got,
            block_by_loops(x, W, n_h, positions=True, **switches),
            mistakes=one_switch_turned(x, W, n_h, positions=True, **switches)
            | slips(names, x, W, n_h, positions=True, **switches)
            | {
                "each text gets another row of P, not each token": lambda s=switches: (
                    block_by_loops(x + W["P"][:3, None], W, n_h, **s)
                ),
            },
        )
        expect(bool(np.allclose(got[1], got[0, ::-1])), False)  # without P it would be True


def test_positions_and_mask_work_under_any_batch_axes(answer, rng):
    L, D, n_h = 4, 6, 2
    x, W = rng.normal(size=(2, 1, L, D)), weights(rng, D, 7)
    for switches in (dict(positions=True), dict(positions=True, mask=True)):
        expect(
            answer.block(x, W, n_h, **switches),
            block_by_loops(x, W, n_h, **switches),
            mistakes={
                "the number of tokens is read off a wrong axis; L is x.shape[-2]": (
                    lambda s=switches: block_by_loops(
                        x + W["P"][0], W, n_h, **(s | {"positions": False})
                    )
                )
            },
        )
        expect(
            answer.block(x[0, 0], W, n_h, **switches), block_by_loops(x[0, 0], W, n_h, **switches)
        )


def test_fourth_repair_the_mask_hides_the_future(answer, rng):
    B, L, D, n_h = 2, 5, 6, 3
    x, W = rng.normal(size=(B, L, D)), weights(rng, D, 7)
    expect(
        answer.block(x, W, n_h, mask=True),
        block_by_loops(x, W, n_h, mask=True),
        mistakes=one_switch_turned(x, W, n_h, mask=True)
        | slips({TRANSPOSED_MASK: "the future"}, x, W, n_h, mask=True),
    )


def test_any_of_the_repairs_may_be_on_together(answer, rng):
    x, W = rng.normal(size=(2, 3, 4)), weights(rng, 4, 5)
    for on in itertools.product((False, True), repeat=4):
        switches = dict(zip(ALL_REPAIRS, on))
        expect(
            answer.block(x, W, 2, **switches),
            block_by_loops(x, W, 2, **switches),
            mistakes=one_switch_turned(x, W, 2, **switches),
        )


def test_with_all_repairs_a_later_token_never_changes_an_earlier_output(answer, rng):
    B, L, D, n_h = 2, 6, 12, 3
    x, W = rng.normal(size=(B, L, D)), weights(rng, D, 9)
    names = {
        POST_NORM: "post-norm",
        FROM_THE_NORM: "from the norm",
        TRANSPOSED_MASK: "the future",
        POSITIONS_INSIDE: "inside the layer only",
    }
    before = answer.block(x, W, n_h, **ALL_REPAIRS)
    expect(
        before,
        block_by_loops(x, W, n_h, **ALL_REPAIRS),
        mistakes=slips(names, x, W, n_h, **ALL_REPAIRS),
    )
    for t in (1, 4):
        changed = x.copy()
        changed[:, t:] = rng.normal(size=(B, L - t, D))
        expect(answer.block(changed, W, n_h, **ALL_REPAIRS)[:, :t], before[:, :t])
        expect(answer.block(x[:, :t], W, n_h, **ALL_REPAIRS), before[:, :t])  # nor its absence
