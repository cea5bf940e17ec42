"""Tests of exercise 16: prefill, decode, and the KV cache."""

import math

import numpy as np

from minigrad.course.testing import expect, fail, given

# The references below count pair by pair, and attend one query and one key at a time.


def attend(q, keys, values, tokens, divisor=None):
    """One head of one text: row i of q (new, H) belongs to token number tokens[i]."""
    divisor = divisor or math.sqrt(q.shape[1])
    y = np.zeros((len(q), values.shape[1]))
    for i, token in enumerate(tokens):
        scores = [float(np.dot(q[i], key)) / divisor for key in keys[: token + 1]]
        powers = [math.exp(score - max(scores)) for score in scores]
        for power, value in zip(powers, values):
            y[i] += power / sum(powers) * value
    return y


def every_head(q, keys, values, tokens, divisor=None):
    """q (B, n_h, new, H), keys and values (B, n_h, T, H)."""
    y = np.zeros(q.shape)
    for b in range(q.shape[0]):
        for head in range(q.shape[1]):
            y[b, head] = attend(q[b, head], keys[b, head], values[b, head], tokens, divisor)
    return y


def with_room(array, max_length, filling):
    """The same cache (B, n_h, length, H) with room for max_length tokens, filled with anything."""
    B, n_h, length, H = array.shape
    cache = np.full((B, n_h, max_length, H), filling, array.dtype)
    cache[:, :, :length] = array
    return cache


def counted(B, new, past, n_h, n_kv, H, itemsize, slip=None):
    """FLOPs and bytes of attention, one pair of a token and a key after the other."""
    keys = past if slip in ("past only", "past's FLOPs") else past + new
    flops = 0
    for _ in range(B * (n_kv if slip == "n_kv" else n_h)):
        for i in range(new):
            seen = past + i + 1 if slip == "masked pairs" else keys
            flops += seen * (1 if slip == "one product" else 2) * 2 * H
    of_keys, keys = n_h if slip == "n_h" else n_kv, past + new
    if slip in ("past only", "past's bytes"):
        keys = past
    arrays = [(B, n_h, new, H), (B, of_keys, keys, H), (B, of_keys, keys, H), (B, n_h, new, H)]
    if slip == "scores":
        arrays.append((B, n_h, new, keys))
    if slip == "no result":
        arrays.pop()
    if slip == "new only":
        arrays[1:3] = [(B, n_kv, new, H)] * 2
    if slip == "numbers":
        itemsize = 1
    return flops, itemsize * sum(math.prod(shape) for shape in arrays)


SLIPS_OF_ATTENTION = {
    "the new tokens' own keys and values are not counted: there are past + new": "past only",
    "the FLOPs with the new tokens' own keys are not counted: there are past + new": "past's FLOPs",
    "the bytes of the new tokens' own keys are not counted: there are past + new": "past's bytes",
    "keys and values are counted in n_h heads, and only n_kv are there": "n_h",
    "the FLOPs are counted for n_kv heads; every query head does its own": "n_kv",
    "half the FLOPs are missing: there are two products, Q·Kᵀ and scores·V, and a multiplication "
    "and an addition are 2": "one product",
    "the pairs that the mask hides are left out; here all are to be counted": "masked pairs",
    "the scores are counted as bytes, but they stay in the processor": "scores",
    "the result's bytes are not counted": "no result",
    "of keys and values only the new ones are counted, not those read from the cache": "new only",
    "numbers are counted, not their bytes": "numbers",
}


def slips_of_attention(*sizes):
    return {words: counted(*sizes, slip=slip) for words, slip in SLIPS_OF_ATTENTION.items()}


def slips_of_linear(B, new, d_in, d_out, itemsize):
    rows = B * new
    flops, weights = 2 * rows * d_in * d_out, d_in * d_out
    numbers = rows * d_in + weights + rows * d_out
    return {
        "a multiplication and an addition are 2 FLOP, not 1": (flops // 2, itemsize * numbers),
        "numbers are counted, not their bytes": (flops, numbers),
        "the weights are read once for all texts and tokens, not once for each": (
            flops,
            itemsize * (rows * d_in + rows * weights + rows * d_out),
        ),
        "the weights are read once for all texts, not once for each": (
            flops,
            itemsize * (rows * d_in + B * weights + rows * d_out),
        ),
        "the bytes of the result are not counted": (flops, itemsize * (rows * d_in + weights)),
        "the bytes of X are not counted": (flops, itemsize * (weights + rows * d_out)),
        "the bytes of X and of the result are not counted": (flops, itemsize * weights),
        "the B texts are not counted": (
            2 * new * d_in * d_out,
            itemsize * (new * d_in + weights + new * d_out),
        ),
    }


NOT_WRITTEN = "places that have not been written yet are looked at: there are only length tokens"
NOT_ITSELF = "the newest token does not look at itself, the last of the length tokens"
NO_ROOT = "the scores are not divided by √H"
LEFT = "the mask is aligned top left, as if the new tokens were the first of the text"
NO_MASK = "there is no mask: a new token sees the new tokens after it"
STRICT = "a new token does not see itself"
EAGER = "the mask is one place too wide: a new token sees the one after it"
ROOM_COUNTED = "the mask is aligned with the end of the cache's memory, not with its length"
FLOAT64 = "the result is a float64: np.sqrt(H) is one, math.sqrt(H) is not"
TOO_EARLY = "the largest score was taken before the mask: a hidden one may be larger"
ONE_LARGEST = "one largest score was taken for all rows: each row needs its own"
OVERFLOW = "the largest score of the row is not subtracted first, so exp gives ∞ or 0 for all"


def test_cost_of_a_linear_layer_counted_by_hand(answer):
    # X (1, 2, 3) · W (3, 5): 2·5 results of 3 products and 3 sums each. 6 + 15 + 10 numbers.
    expect(answer.linear_cost(1, 2, 3, 5, 4), (60, 124), slips_of_linear(1, 2, 3, 5, 4))


def test_cost_of_a_linear_layer_in_prefill_and_in_decode(answer):
    for B, new in ((1, 512), (3, 37), (1, 1), (8, 1)):
        for itemsize in (4, 2):
            flops = sum(2 * 576 for _ in range(B * new * 1536))
            numbers = math.prod((B, new, 576)) + math.prod((576, 1536)) + math.prod((B, new, 1536))
            expect(
                answer.linear_cost(B, new, 576, 1536, itemsize),
                (flops, numbers * itemsize),
                slips_of_linear(B, new, 576, 1536, itemsize),
            )


def test_cost_of_attention_counted_by_hand(answer):
    # One text, 3 query heads that share one head of keys, H = 3; 1 new token after 4.
    # Each query head: 5 scores of 3 products and sums, and as many for the values: 60 FLOP.
    # Q and the result 9 numbers each, K and V 15 each.
    sizes = (1, 1, 4, 3, 1, 3, 4)
    expect(answer.attention_cost(*sizes), (180, 192), slips_of_attention(*sizes))


def test_cost_of_attention_in_prefill_in_decode_and_in_between(answer):
    for new, past in ((12, 0), (1, 29), (5, 8)):
        for B, n_h, n_kv, H, itemsize in ((2, 6, 2, 8, 4), (1, 4, 4, 5, 2), (3, 4, 1, 2, 1)):
            sizes = (B, new, past, n_h, n_kv, H, itemsize)
            expect(answer.attention_cost(*sizes), counted(*sizes), slips_of_attention(*sizes))


def filled(pieces, max_length, slip=None):
    """The cache written token by token, and its length."""
    B, n_kv, _, H = pieces[0].shape
    dtype = np.float64 if slip == "dtype" else pieces[0].dtype
    if slip == "no room":
        max_length = sum(piece.shape[2] for piece in pieces)
    cache = np.zeros((B, n_kv, max_length, H), dtype)
    total, place = sum(piece.shape[2] for piece in pieces), 0
    if slip == "at the end":
        place = max_length - total
    for number, piece in enumerate(pieces):
        if slip == "from the start":
            place = 0
        if slip in ("one place", "one place, one token"):
            place = number
        for i in range(piece.shape[2]):
            if place + i >= max_length:
                break
            cache[:, :, place + i] = piece[:, :, i]
        place += piece.shape[2]
    if slip == "places":
        total = max_length
    return cache, len(pieces) if slip in ("pieces", "one place, one token") else total


SLIPS_OF_FILLING = {
    "every piece is written to the start, over the one before": "from the start",
    "a piece moves on by one place, not by as many tokens as it has": "one place",
    "the tokens stand at the end of the memory, not at its start": "at the end",
    "the memory is only as long as the tokens are, not max_length": "no room",
    "the dtype of the pieces is not kept": "dtype",
    "length counts the pieces, not their tokens": "pieces",
    "length is that of the memory, not the number of tokens in it": "places",
}


def slips_of_filling(pieces, max_length, got):
    mistakes = {
        words: lambda slip=slip: filled(pieces, max_length, slip)
        for words, slip in SLIPS_OF_FILLING.items()
    }
    mistakes["a piece moves on by one place, and counts as one token; it may have several"] = (
        lambda: filled(pieces, max_length, "one place, one token")
    )
    cache, length = filled(pieces, max_length)
    left_over = got[0] if type(got) is tuple and got else None
    if getattr(left_over, "shape", None) == cache.shape:
        cache[:, :, length:] = left_over[:, :, length:]  # what the answer has in these places
        mistakes["places that hold no token are not 0: np.empty leaves there what was before"] = (
            cache,
            length,
        )
    return mistakes


def check_filling(answer, pieces, max_length, want):
    got = answer.fill_cache(pieces, max_length)
    expect(got, want, slips_of_filling(pieces, max_length, got))


def test_cache_of_a_prompt_and_one_token_by_hand(answer):
    pieces = [np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), np.array([[[[5.0, 6.0]]]])]
    want = np.array([[[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [0.0, 0.0]]]])
    check_filling(answer, pieces, 4, (want, 3))


def test_cache_of_pieces_of_any_size(answer, rng):
    for sizes, max_length in (((5, 1, 1), 9), ((2, 3), 5), ((4,), 6), ((1, 4, 2, 1), 11)):
        pieces = [rng.normal(size=(2, 3, new, 4)) for new in sizes]
        check_filling(answer, pieces, max_length, filled(pieces, max_length))


def test_cache_keeps_the_dtype_of_the_pieces(answer, rng):
    for dtype in (np.float32, np.float16):
        pieces = [rng.normal(size=(1, 2, new, 3)).astype(dtype) for new in (3, 2)]
        check_filling(answer, pieces, 8, filled(pieces, 8))


def test_one_query_over_two_cached_tokens_by_hand(answer):
    # H = 1. The scores are 0 and ln 3, so the weights are 1/4 and 3/4. Room for 3 tokens.
    q = np.array([[[math.log(3)]]])
    keys = np.array([[[[0.0], [1.0], [2.0]]]])
    values = np.array([[[[4.0], [8.0], [100.0]]]])
    expect(
        answer.attend_one(q, keys, values, 2),
        np.array([[[7.0]]]),
        mistakes={
            NOT_WRITTEN: np.array([[[(4 + 3 * 8 + 9 * 100) / 13]]]),
            NOT_ITSELF: np.array([[[4.0]]]),
            "the weights are not divided by their sum": np.array([[[28.0]]]),
            "all keys get the same weight": np.array([[[6.0]]]),
        },
    )


def mistakes_of_one(q, keys, values, length):
    """As for a chunk of one: q (B, n_h, H)."""
    q, k, v = q[:, :, None], keys[:, :, :length], values[:, :, :length]
    mistakes = {
        NO_ROOT: lambda: every_head(q, k, v, [length - 1], 1.0)[:, :, 0].astype(q.dtype),
        "the scores are divided by H, not by its root": lambda: every_head(
            q, k, v, [length - 1], q.shape[-1]
        )[:, :, 0].astype(q.dtype),
        NOT_WRITTEN: lambda: every_head(q, keys, values, [keys.shape[2] - 1])[:, :, 0].astype(
            q.dtype
        ),
    }
    if length > 1:
        mistakes[NOT_ITSELF] = lambda: every_head(q, k, v, [length - 2])[:, :, 0].astype(q.dtype)
    return mistakes


def test_one_query_agrees_with_a_loop_over_heads_and_tokens(answer, rng):
    for B, n_h, H, length, room in ((2, 3, 5, 7, 9), (1, 2, 4, 6, 6), (3, 1, 2, 1, 4)):
        q = rng.normal(size=(B, n_h, H))
        keys, values = rng.normal(size=(2, B, n_h, room, H))
        k, v = keys[:, :, :length], values[:, :, :length]
        want = every_head(q[:, :, None], k, v, [length - 1])[:, :, 0]
        got = answer.attend_one(q, keys, values, length)
        expect(got, want, mistakes_of_one(q, keys, values, length))


def test_what_was_never_written_does_not_matter_to_one_query(answer, rng):
    q = rng.normal(size=(2, 2, 3))
    k, v = rng.normal(size=(2, 2, 2, 4, 3))
    want = every_head(q[:, :, None], k, v, [3])[:, :, 0]
    for filling in (np.nan, 1e300):
        keys, values = with_room(k, 6, filling), with_room(v, 6, filling)
        nothing = np.full_like(want, np.nan)
        expect(answer.attend_one(q, keys, values, 4), want, {NOT_WRITTEN: nothing})


def test_one_query_keeps_float32(answer, rng):
    q = rng.normal(size=(2, 3, 4)).astype(np.float32)
    keys, values = rng.normal(size=(2, 2, 3, 6, 4)).astype(np.float32)
    k, v = keys[:, :, :5], values[:, :, :5]
    want = every_head(q[:, :, None], k, v, [4])[:, :, 0].astype(np.float32)
    mistakes = mistakes_of_one(q, keys, values, 5) | {FLOAT64: want.astype(float)}
    expect(answer.attend_one(q, keys, values, 5), want, mistakes, tolerance=1e-5)


def mistakes_of_a_chunk(q, keys, values, length):
    new, dtype = q.shape[2], q.dtype
    k, v = keys[:, :, :length], values[:, :, :length]
    tokens = {
        LEFT: range(new),
        NO_MASK: [length - 1] * new,
        ROOM_COUNTED: range(keys.shape[2] - new, keys.shape[2]),
    }
    if length > new:
        tokens[STRICT] = range(length - new - 1, length - 1)
    tokens[EAGER] = [min(token + 1, length - 1) for token in range(length - new, length)]
    right = range(length - new, length)
    mistakes = {
        words: lambda which=which: every_head(q, k, v, which).astype(dtype)
        for words, which in tokens.items()
    }
    mistakes[NO_ROOT] = lambda: every_head(q, k, v, right, 1.0).astype(dtype)
    mistakes[NOT_WRITTEN] = lambda: every_head(q, keys, values, [keys.shape[2] - 1] * new).astype(
        dtype
    )
    return mistakes


def test_a_chunk_of_three_tokens_after_two_by_hand(answer):
    # H = 1, keys all 0: equal weights. Token 2 sees three values, token 3 four, token 4 all five.
    q, keys = np.array([[[[1.0], [2.0], [3.0]]]]), np.zeros((1, 1, 5, 1))
    values = np.array([[[[3.0], [5.0], [10.0], [2.0], [0.0]]]])
    expect(
        answer.attend_chunk(q, keys, values, 5),
        np.array([[[[6.0], [5.0], [4.0]]]]),
        mistakes_of_a_chunk(q, keys, values, 5),
    )


def test_a_chunk_agrees_with_a_loop_over_heads_and_tokens(answer, rng):
    for B, n_h, H, new, length, room in (
        (2, 3, 5, 4, 9, 11),
        (1, 2, 4, 2, 7, 7),
        (3, 1, 2, 6, 6, 8),
        (2, 2, 3, 1, 5, 6),
    ):
        q = rng.normal(size=(B, n_h, new, H))
        keys, values = rng.normal(size=(2, B, n_h, room, H))
        k, v = keys[:, :, :length], values[:, :, :length]
        want = every_head(q, k, v, range(length - new, length))
        got = answer.attend_chunk(q, keys, values, length)
        expect(got, want, mistakes_of_a_chunk(q, keys, values, length))


def test_chunks_one_after_the_other_are_a_prefill_all_at_once(answer, rng):
    B, n_h, H, L = 2, 2, 3, 8
    q, k, v = rng.normal(size=(3, B, n_h, L, H))
    whole = every_head(q, k, v, range(L))
    for sizes in ((8,), (3, 3, 2), (5, 1, 1, 1)):
        keys, values = np.full((2, B, n_h, L + 2, H), np.nan)
        start = 0
        for size in sizes:
            stop = start + size
            keys[:, :, start:stop], values[:, :, start:stop] = (
                k[:, :, start:stop],
                v[:, :, start:stop],
            )
            got = answer.attend_chunk(q[:, :, start:stop], keys.copy(), values.copy(), stop)
            mistakes = mistakes_of_a_chunk(q[:, :, start:stop], keys, values, stop)
            expect(got, whole[:, :, start:stop], mistakes)
            start = stop


def test_a_chunk_with_large_scores_does_not_overflow(answer, rng):
    for size in (900.0, -900.0):  # of all scores alike, so that whole rows overflow, or vanish
        q, k, v = rng.normal(size=(3, 1, 2, 5, 4))
        q[..., 0], k[..., 0] = size, 2.0
        want = every_head(q[:, :, 2:], k, v, range(2, 5))
        nothing = np.full_like(want, np.nan)
        expect(answer.attend_chunk(q[:, :, 2:], k, v, 5), want, {OVERFLOW: nothing})


def test_each_row_subtracts_the_largest_score_that_it_sees(answer):
    # H = 1. Row 0 sees scores 0 and 1 in both cases.
    values, e = np.array([[[[3.0], [5.0], [10.0]]]]), math.e
    first = (3 + 5 * e) / (1 + e)
    # Behind its mask is a 900. Row 1 has 0, -1 and -900.
    q, keys = np.array([[[[1.0], [-1.0]]]]), np.array([[[[0.0], [1.0], [900.0]]]])
    second = (3 * e + 5) / (e + 1)
    expect(
        answer.attend_chunk(q, keys, values, 3),
        np.array([[[[first], [second]]]]),
        {TOO_EARLY: np.array([[[[np.nan], [second]]]])},
    )
    # Row 1 has 0, 900 and 900.
    q, keys = np.array([[[[1.0], [900.0]]]]), np.array([[[[0.0], [1.0], [1.0]]]])
    expect(
        answer.attend_chunk(q, keys, values, 3),
        np.array([[[[first], [7.5]]]]),
        {
            ONE_LARGEST: np.array([[[[np.nan], [7.5]]]]),
            OVERFLOW: np.array([[[[first], [np.nan]]]]),
        },
    )


def test_a_chunk_keeps_float32(answer, rng):
    q = rng.normal(size=(2, 3, 2, 4)).astype(np.float32)
    keys, values = rng.normal(size=(2, 2, 3, 7, 4)).astype(np.float32)
    want = every_head(q, keys[:, :, :6], values[:, :, :6], range(4, 6)).astype(np.float32)
    mistakes = mistakes_of_a_chunk(q, keys, values, 6) | {FLOAT64: want.astype(float)}
    expect(answer.attend_chunk(q, keys, values, 6), want, mistakes, tolerance=1e-5)


# The model of the last exercise, heard again from the first token at each step.


def likeliest(table, text):
    """What follows a text, by the formula of ``cached_model`` in _given.py."""
    scores = np.zeros(table.shape[2])
    for i, token in enumerate(text):
        scores += table[i % len(table), token] / 2 ** (len(text) - 1 - i)
    return int(scores.argmax())


def continued(table, prompt, n, stop, slip=None, room=None):
    """The tokens chosen, each from the whole text before it. ``slip`` names a mistake to make."""
    text, chosen = list(prompt), []
    if slip == "first chunk":
        chosen.append(likeliest(table, text[:room]))
        text = text + chosen
    if slip == "rest dropped":
        text = text[: len(text) // room * room]
    while len(chosen) < n:
        chunk = room or len(prompt)
        heard, last_chunk = text, (len(prompt) - 1) // chunk * chunk
        if slip == "last chunk alone" or (slip in ("no cache", "prefill lost") and not chosen):
            heard = text[last_chunk:]
        elif slip == "no cache":
            heard = text[-1:]
        elif slip == "prefill lost":
            heard = text[len(prompt) :]
        elif slip == "not kept" and chosen:
            heard = [*prompt, text[-1]]
        chosen.append(likeliest(table, heard))
        text.append(chosen[-1])
        if chosen[-1] == stop and slip != "no stop":
            break
    if slip == "no stop token":
        chosen = chosen[:-1]
    return list(prompt) + chosen if slip == "prompt too" else chosen


def slips_of_writing(table, prompt, n, stop, room):
    names = {
        "the prompt is not part of what is returned": "prompt too",
        "the cache that step returns is not passed on: every call begins a new text": "no cache",
        "prefill's cache is not handed on: decoding begins a new text": "prefill lost",
        "a decode step's cache is not kept: the next hears the prompt and one token": "not kept",
        "the text does not end with the stop token": "no stop",
        "the stop token is left out; it is the last of the tokens returned": "no stop token",
        "the chunks do not share a cache: only the last one is heard": "last chunk alone",
    }
    if len(prompt) > room:
        names["the first token is chosen after the first chunk, not after the last"] = "first chunk"
        if len(prompt) % room:
            names["the last chunk, shorter than room, is dropped"] = "rest dropped"
    if continued(table, prompt, n, stop)[-1] != stop:
        names.pop("the stop token is left out; it is the last of the tokens returned")
    return {
        words: lambda slip=slip: continued(table, prompt, n, stop, slip, room)
        for words, slip in names.items()
    }


def check_writing(answer, table, prompt, n, room, stop=-1):
    want = continued(table, prompt, n, stop)
    step = given("cached_model", table, room, len(prompt), n, stop)
    mistakes = slips_of_writing(table, prompt, n, stop, room)
    got = answer.generate(step, prompt, n, room, stop)
    expect(got, want, mistakes)
    if any(type(token) is not int for token in got):
        fail("The tokens are right, but they are NumPy's integers: int(...) makes one of Python's.")


def test_three_tokens_by_hand(answer):
    # After token x comes x + 1, whatever was before: the table's ones outweigh all halves.
    table = np.roll(np.eye(5), 1, axis=1)[None]  # (1, 5, 5)
    check_writing(answer, table, [0, 1], 3, room=2)  # 2, 3, 4


def test_decoding_hears_the_whole_text_each_token_once(answer, rng):
    for length, n in ((4, 6), (1, 5), (7, 1)):
        table = rng.normal(size=(5, 11, 11))
        check_writing(answer, table, rng.integers(0, 11, length).tolist(), n, room=length)


def test_a_long_prompt_goes_in_as_chunks(answer, rng):
    for length, room in ((6, 2), (7, 3), (5, 4), (8, 3), (3, 1), (2, 9)):
        table = rng.normal(size=(5, 13, 13))
        check_writing(answer, table, rng.integers(0, 13, length).tolist(), 5, room)


def test_a_stop_token_ends_the_text(answer, rng):
    for _ in range(3):
        table = rng.normal(size=(5, 17, 17))
        prompt = rng.integers(0, 17, 4).tolist()
        free = continued(table, prompt, 9, -1)
        for stop in (free[0], free[3]):
            check_writing(answer, table, prompt, 9, 3, stop)
