"""Tests of exercise 12: the transformer block: as drawn, with its four repairs, as Llama has it."""

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


def every_head(q, k, v, allowed=lambda i, j: True, divisor=None, asked=None):
    """q (B, n_h, Lq, H), k and v (B, n_kv, Lk, H); asked(head): which of the n_kv it asks."""
    n_h, n_kv = q.shape[1], k.shape[1]
    asked = asked or (lambda head: head * n_kv // n_h)
    y = np.zeros((*q.shape[:3], v.shape[3]))
    for b in range(q.shape[0]):
        for head in range(n_h):
            kv = asked(head)
            y[b, head] = attend(q[b, head], k[b, kv], v[b, kv], allowed, divisor)
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
MERGED_BY_RESHAPE = "the heads are merged without moving their axis back behind the tokens"
POST_NORM = "the norm comes after the layer (post-norm), not before it (pre-norm)"
FROM_THE_NORM = "the residual starts from norm(x), not from x"
POSITIONS_INSIDE = "positions reach attention only: they belong to x itself, before all else"
ALL_MASKED = "all is masked: without a mask attention is to get None, not False"
IN_TURN = "the heads take the shared keys in turn, 0 1 0 1: neighbours are to share, 0 0 1 1"
FIRST_ONLY = "all heads ask the first keys"
NOT_OWN_LARGEST = "what is subtracted is not the row's own largest score, and small rows underflow"


def test_softmax_treats_each_row_for_itself(answer, rng):
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
    # Fewer queries than keys, as when a model writes.
    k, v = rng.normal(size=(2, B, n_h, L + 2, H))
    q, mask = q[:, :, :2], np.arange(L + 2) <= np.array([[L], [L + 1]])
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


def test_neighbouring_heads_share_keys_and_values(answer, rng):
    # Six heads of one query, two heads of one key: each gets the value of the key that it asks.
    v = np.array([[[[3.0, 5.0]], [[7.0, 2.0]]]])  # (1, 2, 1, 2)
    expect(
        answer.attention(rng.normal(size=(1, 6, 1, 2)), rng.normal(size=(1, 2, 1, 2)), v),
        v[:, [0, 0, 0, 1, 1, 1]],
        mistakes={IN_TURN: v[:, [0, 1, 0, 1, 0, 1]], FIRST_ONLY: v[:, [0] * 6]},
    )
    for n_h, n_kv in ((6, 2), (6, 3), (4, 1)):
        q = rng.normal(size=(2, n_h, 3, 4))
        k, v = rng.normal(size=(2, 2, n_kv, 5, 4))
        mask = np.arange(5) <= np.arange(3)[:, None] + 2

        def seen(i, j, mask=mask):
            return mask[i, j]

        expect(
            answer.attention(q, k, v, mask),
            every_head(q, k, v, seen),
            mistakes={
                IN_TURN: lambda a=(q, k, v, seen), n=n_kv: every_head(*a, asked=lambda h: h % n),
                FIRST_ONLY: lambda a=(q, k, v, seen): every_head(*a, asked=lambda h: 0),
            },
        )
        shared = [np.stack([q[:, 0]] * n_h, axis=1), k, v]  # all heads ask the same
        expect(
            answer.attention(*shared, mask)[:, -1],
            every_head(*shared, seen)[:, -1],
            mistakes={FIRST_ONLY: lambda a=(*shared, seen): every_head(*a)[:, 0]},
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


def test_fourth_repair_the_mask_hides_the_future(answer, rng):
    B, L, D, n_h = 2, 5, 6, 3
    x, W = rng.normal(size=(B, L, D)), weights(rng, D, 7)
    expect(
        answer.block(x, W, n_h, mask=True),
        block_by_loops(x, W, n_h, mask=True),
        mistakes=one_switch_turned(x, W, n_h, mask=True)
        | slips({TRANSPOSED_MASK: "the future"}, x, W, n_h, mask=True),
    )


def test_any_of_the_repairs_may_be_on_together_under_any_batch_axes(answer, rng):
    x, W = rng.normal(size=(2, 1, 3, 4)), weights(rng, 4, 5)
    for on in itertools.product((False, True), repeat=4):
        switches = dict(zip(ALL_REPAIRS, on))
        mistakes = one_switch_turned(x, W, 2, **switches)
        if switches["positions"]:  # as if there were only the first row of P
            mistakes["the number of tokens is read off a wrong axis; L is x.shape[-2]"] = (
                lambda s=switches: block_by_loops(x + W["P"][0], W, 2, **(s | {"positions": False}))
            )
        want = block_by_loops(x, W, 2, **switches)
        expect(answer.block(x, W, 2, **switches), want, mistakes)
        expect(answer.block(x[0, 0], W, 2, **switches), want[0, 0])


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


def turned_by_numbers(x, positions, base=10_000.0, slip=None):
    """RoPE with complex numbers: x (..., L, H), arrow m is x[m] + i·x[m + H/2]."""
    H = x.shape[-1]
    turned = np.zeros(x.shape)
    for row, p in enumerate(positions):
        p = {"from 1": p + 1, "row number": row}.get(slip, p)
        for m in range(H // 2):
            exponent = {"all alike": 0, "m / H": -m / H, "growing": 2 * m / H}.get(slip, -2 * m / H)
            first, second = (2 * m, 2 * m + 1) if slip == "neighbours" else (m, m + H // 2)
            angle = p * base**exponent * (-1 if slip == "backwards" else 1)
            arrow = (x[..., row, first] + 1j * x[..., row, second]) * np.exp(1j * angle)
            turned[..., row, first], turned[..., row, second] = arrow.real, arrow.imag
    return turned


ROTARY_SLIPS = {
    "the arrows are pairs of neighbours, (x[2m], x[2m + 1]); asked for is (x[m], x[m + H/2])": (
        "neighbours"
    ),
    "the arrows turn backwards: the signs of the sines are exchanged": "backwards",
    "the exponent is −m/H, not −2m/H": "m / H",
    "the exponent has the wrong sign: the arrows turn faster and faster": "growing",
    "all arrows turn at the same speed": "all alike",
    "the rows are counted from 0: ``positions`` says where each one stands": "row number",
    "positions are counted from 1": "from 1",
}


def rotary_slips(*arguments):
    """The mistakes {words: x turned with this slip}."""
    return {
        words: lambda slip=slip: turned_by_numbers(*arguments, slip=slip)
        for words, slip in ROTARY_SLIPS.items()
    }


def modern_weights(rng, D, n_h, n_kv, M):
    H = D // n_h
    shapes = dict(W_Q=(D, D), W_K=(D, n_kv * H), W_V=(D, n_kv * H), W_O=(D, D))
    shapes |= dict(W_gate=(D, M), W_up=(D, M), W_down=(M, D))
    W = {name: rng.normal(size=shape) / math.sqrt(shape[0]) for name, shape in shapes.items()}
    return W | {name: rng.uniform(0.5, 1.5, size=D) for name in ("gamma_1", "gamma_2")}


def size_one(table, gamma, slip=None):
    """RMSNorm of each row of table (L, D); "mean subtracted" makes it a layer norm."""
    if slip == "mean subtracted":
        return norm_of_a_table(table, gamma)
    return np.stack(
        [row / math.sqrt(sum(n * n for n in row) / len(row) + 1e-5) * gamma for row in table]
    )


def gated_by_numbers(h, gate, up, down, slip=None):
    """SwiGLU of one row (D,), unit by unit."""
    out = np.zeros(down.shape[1])
    for m in range(len(down)):
        u, what = float(h @ gate[:, m]), float(h @ up[:, m])
        if slip == "gate and up exchanged":
            u, what = what, u
        opened = 1 / (1 + math.exp(-u))
        passed = {"sigmoid": opened, "relu": max(u, 0.0), "no gate": 1.0}.get(slip, u * opened)
        out += passed * (1.0 if slip == "up left out" else what) * down[m]
    return out


def modern_text(x, W, n_h, n_kv, slip):
    """The modern block of one text (L, D), head by head. ``slip`` names a mistake to make."""
    L, D = x.shape
    H = D // n_h
    gammas = [W["gamma_1"], W["gamma_2"]][:: -1 if slip == "gains exchanged" else 1]
    h = x if slip == "no norm" else size_one(x, gammas[0], slip)
    Q, K, V = h @ W["W_Q"], h @ W["W_K"], h @ W["W_V"]
    merged = np.zeros((L, D))
    for head in range(n_h):
        kv = head % n_kv if slip == "in turn" else head * n_kv // n_h
        q, k, v = Q[:, head * H :][:, :H], K[:, kv * H :][:, :H], V[:, kv * H :][:, :H]
        if slip not in ("no positions", "keys only", "rows turned whole"):
            q = turned_by_numbers(q, range(L))
        if slip not in ("no positions", "queries only", "rows turned whole"):
            k = turned_by_numbers(k, range(L))
        if slip == "values too":
            v = turned_by_numbers(v, range(L))
        if slip == "rows turned whole":
            q = turned_by_numbers(Q, range(L))[:, head * H :][:, :H]
            k = turned_by_numbers(K, range(L))[:, kv * H :][:, :H]
        seen = (lambda i, j: True) if slip == "no mask" else (lambda i, j: j <= i)
        merged[:, head * H :][:, :H] = attend(q, k, v, seen)
    attended = merged if slip == "no W_O" else merged @ W["W_O"]
    first = {"from the norm": h, "no residual": 0}.get(slip, x)
    middle = first + attended
    h = middle if slip == "no second norm" else size_one(middle, gammas[1], slip)
    mlp = [gated_by_numbers(row, W["W_gate"], W["W_up"], W["W_down"], slip) for row in h]
    second = {"from the norm": h, "no residual": 0, "from the input": x}.get(slip, middle)
    return second + np.array(mlp)


def modern_by_loops(x, W, n_h, n_kv, slip=None):
    """x (..., L, D), one text after the other."""
    texts = x.reshape(-1, *x.shape[-2:])
    return np.reshape([modern_text(t, W, n_h, n_kv, slip) for t in texts], x.shape)


MODERN_SLIPS = {
    "the values are turned too; only queries and keys are": "values too",
    "the keys are not turned": "queries only",
    "the queries are not turned": "keys only",
    "nothing is turned: the block knows no positions": "no positions",
    "whole rows are turned, and split into heads afterwards; each head has its own arrows": (
        "rows turned whole"
    ),
    "there is no causal mask": "no mask",
    "the mean is subtracted: that is the old norm, not RMSNorm": "mean subtracted",
    "gamma_1 and gamma_2 are exchanged": "gains exchanged",
    "the residual starts from rms_norm(x), not from x": "from the norm",
    "the residuals are missing": "no residual",
    "the second residual starts from the block's input": "from the input",
    "W_O is left out": "no W_O",
    "the heads take the shared keys in turn": "in turn",
    "attention reads x itself, not rms_norm(x)": "no norm",
    "the MLP reads x itself, not rms_norm(x)": "no second norm",
    "W_gate and W_up are exchanged": "gate and up exchanged",
}


def modern_slips(*arguments):
    """The mistakes {words: the modern block with this slip}."""
    return {
        words: lambda slip=slip: modern_by_loops(*arguments, slip=slip)
        for words, slip in MODERN_SLIPS.items()
    }


MEAN_SUBTRACTED = "the mean is subtracted: that is the old norm, not RMSNorm"
FLOAT32_ANGLES = "the angles are float32, which has too few digits for far positions"
CAST_ANGLES = "the angles are rounded to float32 before cos and sin; far ones lose digits by that"
OTHER_EPSILON = "ε is left out, or is not the one that was given"
NEIGHBOURS, BACKWARDS, *_ = ROTARY_SLIPS
GATE_EXCHANGED = "W_gate and W_up are exchanged: the SiLU belongs to the gate"
NO_SILU = "the gate is σ(u), not SiLU(u) = u · σ(u)"


def test_rms_norm_of_one_row_by_hand(answer):
    x = np.array([[1.0, 7.0, -5.0, 5.0]])  # the mean of the squares is 100 / 4 = 25
    gamma = np.array([10.0, 1.0, 2.0, 3.0])
    expect(
        answer.rms_norm(x, gamma, 0.0),
        np.array([[2.0, 1.4, -2.0, 3.0]]),
        mistakes={
            MEAN_SUBTRACTED: lambda: (x - 2) / math.sqrt(21) * gamma,
            OTHER_EPSILON: x / math.sqrt(25 + 1e-5) * gamma,
            "x is divided by the mean square, not by its root": x / 25 * gamma,
            "x is divided by its length: the sum of the squares, not their mean": x / 10 * gamma,
            "the gains γ are left out": x / 5,
        },
    )


def test_rms_norm_treats_each_row_for_itself_under_any_batch_axes(answer, rng):
    for shape in ((6,), (3, 6), (2, 3, 4, 6)):
        x, gamma = rng.normal(size=shape) + 0.5, rng.uniform(0.5, 2.0, size=6)
        for epsilon in (1e-5, 0.25):
            rows = x.reshape(-1, 6)
            want = [r / math.sqrt(sum(n * n for n in r) / 6 + epsilon) * gamma for r in rows]
            size = np.sqrt((x**2).mean(axis=-1, keepdims=True))
            one_for_all = x / math.sqrt((x**2).mean() + epsilon)
            arguments = (x, gamma) if epsilon == 1e-5 else (x, gamma, epsilon)
            expect(
                answer.rms_norm(*arguments),
                np.reshape(want, shape),
                mistakes={
                    OTHER_EPSILON: x / size * gamma,
                    OTHER_EPSILON + ", but 1e-5": x / np.sqrt(size**2 + 1e-5) * gamma,
                    "ε is added to the root, not to the mean square under it": x
                    / (size + epsilon)
                    * gamma,
                    "one size is taken of all rows together; each has its own": one_for_all * gamma,
                    MEAN_SUBTRACTED: lambda x=x, g=gamma, e=epsilon: (
                        (x - x.mean(axis=-1, keepdims=True))
                        / np.sqrt(x.var(axis=-1, keepdims=True) + e)
                        * g
                    ),
                },
            )
    single = answer.rms_norm(np.array([3.0, 4.0], np.float32), np.ones(2, np.float32))
    expect(single, np.array([3.0, 4.0], np.float32) / np.float32(math.sqrt(12.5)))


def test_rotary_of_two_arrows_by_hand(answer):
    # H = 4 and base 100: arrow 0 = (x[0], x[2]) turns by 1 a step, arrow 1 = (x[1], x[3]) by 0.1.
    x = np.array([[1.0, 0.0, 0.0, 5.0], [1.0, 0.0, 0.0, 5.0]])
    positions = np.array([0, 3])
    want = [1.0, 0.0, 0.0, 5.0], [math.cos(3), -5 * math.sin(0.3), math.sin(3), 5 * math.cos(0.3)]
    expect(
        answer.rotary(x, positions, 100.0),
        np.array(want),
        mistakes=rotary_slips(x, positions, 100.0)
        | {"``base`` is ignored": lambda: turned_by_numbers(x, positions)},
    )


def test_rotary_agrees_with_complex_numbers_under_any_batch_axes(answer, rng):
    for shape in ((3, 2), (2, 4, 6), (2, 3, 5, 8)):
        x = rng.normal(size=shape)
        positions = 3 + rng.permutation(40)[: shape[-2]]
        positions = np.where(positions == np.arange(shape[-2]), 50, positions)
        want = turned_by_numbers(x, positions)
        expect(answer.rotary(x, positions), want, mistakes=rotary_slips(x, positions))
    single = x.astype(np.float32)
    expect(
        answer.rotary(single, positions),
        want.astype(np.float32),
        tolerance=1e-5,
        mistakes={"the angles are float64, and make everything float64; x was float32": want},
    )
    far = np.array([30_011, 7, 65_521])
    x = rng.normal(size=(3, 8)).astype(np.float32)
    angles = far[:, None] * 10_000.0 ** (-np.arange(4) / 4)
    speeds = np.float32(10_000) ** (-np.arange(4) / 4).astype(np.float32)
    expect(
        answer.rotary(x, far),
        turned_by_numbers(x.astype(float), far).astype(np.float32),
        mistakes={
            FLOAT32_ANGLES: turned_by_angles(x, far[:, None].astype(np.float32) * speeds),
            CAST_ANGLES: turned_by_angles(x, angles.astype(np.float32)),
        },
    )


def turned_by_angles(x, angles):
    arrows = (x[:, :4] + 1j * x[:, 4:]) * np.exp(1j * angles.astype(float))
    return np.concatenate([arrows.real, arrows.imag], axis=1).astype(np.float32)


def test_scores_of_turned_rows_depend_on_the_distance_alone(answer, rng):
    query, key = rng.normal(size=(2, 6))
    for base in (10_000.0, 50.0):
        scores = {}
        for first in (0, 1000):
            positions = first + np.arange(5)
            q = answer.rotary(np.tile(query, (5, 1)), positions, base)
            k = answer.rotary(np.tile(key, (5, 1)), positions, base)
            scores[first] = q @ k.T  # (5, 5)
        arrows = (query[:3] - 1j * query[3:]) * (key[:3] + 1j * key[3:])  # at distance 0
        speeds = [base ** (-2 * m / 6) for m in range(3)]
        want = np.zeros((5, 5))
        for i in range(5):
            for j in range(5):
                turns = [np.exp(1j * (j - i) * speed) for speed in speeds]
                want[i, j] = sum((arrow * turn).real for arrow, turn in zip(arrows, turns))
        expect(scores[0], want, mistakes={BACKWARDS: want.T})
        expect(scores[1000], want, tolerance=1e-8)


def test_swiglu_of_one_row_by_hand(answer):
    # h·W_gate is (ln 3, 0): SiLU gives ln 3 · 3/4, and 0. h·W_up is (8, 4).
    h = np.array([[1.0, 2.0]])
    W_gate = np.array([[math.log(3), 4.0], [0.0, -2.0]])
    W_up = np.array([[2.0, 4.0], [3.0, 0.0]])
    W_down = np.array([[1.0, -1.0], [10.0, 20.0]])
    opened = 6 * math.log(3)
    expect(
        answer.swiglu(h, W_gate, W_up, W_down),
        np.array([[opened, -opened]]),
        mistakes=swiglu_slips(h, W_gate, W_up, W_down),
    )


def swiglu_slips(h, *W):
    """The mistakes {words: the gated MLP of rows h (..., D) with this slip}."""
    names = {
        GATE_EXCHANGED: "gate and up exchanged",
        NO_SILU: "sigmoid",
        "the gate has a ReLU, not a SiLU": "relu",
        "W_gate is left out": "no gate",
        "W_up is left out": "up left out",
    }
    return {
        words: lambda slip=slip: swiglu_by_rows(h, *W, slip=slip) for words, slip in names.items()
    }


def swiglu_by_rows(h, *W, slip=None):
    rows = [gated_by_numbers(row, *W, slip=slip) for row in h.reshape(-1, h.shape[-1])]
    return np.reshape(rows, (*h.shape[:-1], W[2].shape[1]))


def test_swiglu_agrees_with_a_loop_under_any_batch_axes(answer, rng):
    D, M = 3, 5
    W = [rng.normal(size=shape) for shape in ((D, M), (D, M), (M, D))]
    for shape in ((D,), (4, D), (2, 3, 4, D)):
        h = rng.normal(size=shape)
        expect(answer.swiglu(h, *W), swiglu_by_rows(h, *W), mistakes=swiglu_slips(h, *W))
    single = [array.astype(np.float32) for array in (h, *W)]
    expect(answer.swiglu(*single), swiglu_by_rows(h, *W).astype(np.float32), tolerance=1e-5)


def test_modern_block_agrees_with_a_loop(answer, rng):
    for shape, D, n_h, n_kv, M in (((2,), 24, 6, 2, 7), ((), 8, 2, 2, 5), ((2, 1), 16, 4, 1, 9)):
        x = rng.normal(size=(*shape, 5, D)) + 0.5
        W = modern_weights(rng, D, n_h, n_kv, M)
        expect(
            answer.modern_block(x, W, n_h, n_kv),
            modern_by_loops(x, W, n_h, n_kv),
            mistakes=modern_slips(x, W, n_h, n_kv),
        )


def test_in_the_modern_block_a_later_token_never_changes_an_earlier_output(answer, rng):
    B, L, D, n_h, n_kv = 2, 6, 12, 3, 1
    x, W = rng.normal(size=(B, L, D)), modern_weights(rng, D, n_h, n_kv, 10)
    before = answer.modern_block(x, W, n_h, n_kv)
    want = modern_by_loops(x, W, n_h, n_kv)
    expect(before, want, mistakes=modern_slips(x, W, n_h, n_kv))
    for t in (1, 4):
        changed = x.copy()
        changed[:, t:] = rng.normal(size=(B, L - t, D))
        expect(answer.modern_block(changed, W, n_h, n_kv)[:, :t], before[:, :t])


def test_the_modern_block_tells_two_orders_of_the_past_apart(answer, rng):
    L, D, n_h, n_kv = 5, 8, 2, 1
    x, W = rng.normal(size=(2, L, D)), modern_weights(rng, D, n_h, n_kv, 6)
    x[1] = x[0, [2, 0, 3, 1, 4]]  # the same past of the last token, in another order
    got = answer.modern_block(x, W, n_h, n_kv)[:, -1]
    want = modern_by_loops(x, W, n_h, n_kv)[:, -1]
    wrong = {
        words: lambda make=make: make()[:, -1]
        for words, make in modern_slips(x, W, n_h, n_kv).items()
    }
    expect(got, want, mistakes=wrong)
    expect(bool(np.allclose(got[0], got[1])), False)  # without rotary it would be True
