"""Tests of exercise 18: what a user feels and what an operator pays."""

import math
from itertools import pairwise

import numpy as np

from minigrad.course.testing import expect

# The references below count in whole milliseconds, gap by gap, one after the other. Times in the
# tests are multiples of 1/64 s, so that sums and differences of them are exact.

TICK = 1 / 64


def request(rng, asked, n, longest=20):
    """One (asked, arrivals): n tokens, each 1 to ``longest`` ticks after the one before."""
    steps = rng.integers(1, longest + 1, n)
    return asked * TICK, (asked + np.cumsum(steps)) * TICK


def times(asked, arrivals, slip=None):
    """(TTFT, TPOT, latency), TPOT from the gaps one by one."""
    n, start = len(arrivals), 0.0 if slip == "clock" else asked
    ttft, latency = arrivals[0] - start, arrivals[-1] - start
    gaps = [later - earlier for earlier, later in pairwise(arrivals)]
    tpot = math.fsum(gaps) / max(len(gaps), 1)
    if slip == "by n":
        tpot = math.fsum(gaps) / n
    if slip == "with the first":
        tpot = latency / n
    if slip == "whole over n - 1":
        tpot = latency / max(n - 1, 1)
    if slip == "median":
        tpot = sorted(gaps)[len(gaps) // 2] if gaps else 0.0
    if slip == "lecture":
        latency = ttft + tpot * n
    if slip == "after the first":
        latency -= ttft
    if slip == "nan" and n == 1:
        tpot = math.nan
    return float(ttft), float(tpot), float(latency)


SLIPS_OF_TIMES = {
    "the times count from 0 on the clock, not from when the request came": "clock",
    "TPOT divides by n, but n tokens have n − 1 gaps between them": "by n",
    "TPOT counts the wait for the first token as a gap": "with the first",
    "TPOT spreads the whole latency over n − 1 gaps; TTFT is no part of it": "whole over n - 1",
    "TPOT is the mean of the gaps, not their median": "median",
    "latency is TTFT + TPOT · n, which counts the first token twice": "lecture",
    "latency begins with the request, not with the first token": "after the first",
}


def check_times(answer, asked, arrivals):
    expect(
        answer.answer_times(asked, arrivals),
        times(asked, arrivals),
        {words: times(asked, arrivals, slip) for words, slip in SLIPS_OF_TIMES.items()},
    )


def test_times_of_four_tokens_by_hand(answer):
    # Asked at 2 s; tokens at 2.5, 2.75, 3.25, 3.5: gaps 0.25, 0.5, 0.25, their mean 1/3.
    arrivals = np.array([2.5, 2.75, 3.25, 3.5])
    check_times(answer, 2.0, arrivals)
    expect(answer.answer_times(2.0, arrivals), (0.5, 1 / 3, 1.5))


def test_times_of_many_tokens_from_their_gaps(answer, rng):
    for n in (2, 3, 17, 60):
        check_times(answer, *request(rng, asked=int(rng.integers(1, 500)), n=n))


def test_a_single_token_has_no_gap(answer, rng):
    asked, arrivals = request(rng, asked=70, n=1)
    expect(
        answer.answer_times(asked, arrivals),
        (float(arrivals[0] - asked), 0.0, float(arrivals[0] - asked)),
        {"a single token has no gaps: 0/0 is not its TPOT, 0.0 is": times(asked, arrivals, "nan")},
    )


def rate(requests, slip=None):
    """Tokens over busy time, the clock gone through tick by tick."""
    spans = [(asked, float(arrivals[-1])) for asked, arrivals in requests]
    tokens = sum(len(arrivals) for _, arrivals in requests)
    ticks = range(round(min(a for a, _ in spans) / TICK), round(max(b for _, b in spans) / TICK))
    busy = sum(any(a <= tick * TICK < b for a, b in spans) for tick in ticks) * TICK
    if slip == "sum of latencies":
        busy = sum(b - a for a, b in spans)
    if slip == "first to last":
        busy = max(b for _, b in spans) - min(a for a, _ in spans)
    if slip == "clock":
        busy = max(b for _, b in spans)
    if slip == "requests":
        tokens = len(requests)
    if slip == "added":
        return math.fsum(len(times) / (times[-1] - asked) for asked, times in requests)
    if slip == "mean of rates":
        return rate(requests, "added") / len(requests)
    if slip == "decode only":
        return rate([(float(arrivals[0]), arrivals) for _, arrivals in requests])
    if slip == "newest end":  # overlaps are seen only with the request before
        busy, until = 0.0, -math.inf
        for a, b in sorted(spans):
            busy += max(b - max(a, until), 0.0)
            until = b
    if slip == "minus":
        busy, until = 0.0, -math.inf
        for a, b in sorted(spans):
            busy += b - max(a, until)
            until = max(b, until)
    if slip == "not sorted":
        busy, until = 0.0, -math.inf
        for a, b in spans:
            busy += max(b - max(a, until), 0.0)
            until = max(b, until)
    return tokens / busy if busy > 0 else math.inf


SLIPS_OF_RATES = {
    "time in which two requests are served counts twice": "sum of latencies",
    "time in which there was no request counts too": "first to last",
    "the time counts from 0 on the clock": "clock",
    "the requests' own throughputs are added up, as if all of them ran all the time": "added",
    "the mean of the requests' own throughputs is not that of the machine": "mean of rates",
    "requests are counted, not their tokens": "requests",
    "a request keeps the machine busy from when it was asked, not from its first token": (
        "decode only"
    ),
    "a request inside another one moves the end of the busy time back": "newest end",
    "a request that ends inside another one adds nothing, but not less than nothing": "minus",
    "the requests may come in any order: sort them by when they were asked": "not sorted",
}


def check_rate(answer, requests):
    expect(
        answer.throughput(requests),
        rate(requests),
        {words: lambda s=slip: rate(requests, s) for words, slip in SLIPS_OF_RATES.items()},
    )


def test_throughput_of_two_that_overlap_by_hand(answer):
    # From 1 to 3 and from 2 to 5: busy for 4 seconds, 5 tokens.
    check_rate(answer, [(1.0, np.array([2.0, 3.0])), (2.0, np.array([4.0, 4.5, 5.0]))])


def test_throughput_leaves_out_the_time_with_no_request(answer):
    # 1 to 2, then nothing, then 6 to 8: busy for 3 seconds, 6 tokens.
    requests = [(1.0, np.array([1.5, 2.0])), (6.0, np.array([7.0, 7.25, 7.5, 8.0]))]
    check_rate(answer, requests)


def test_throughput_of_requests_inside_each_other_and_in_any_order(answer, rng):
    long = (0.5, np.array([2.0, 9.0]))
    inside = (1.0, np.array([1.25, 1.5, 2.25]))
    after = (4.0, np.array([5.0, 9.5, 10.0]))
    for requests in ([long, inside, after], [after, inside, long], [inside, after, long]):
        check_rate(answer, requests)
    twin = (1.0, np.array([1.5, 3.0]))  # asked at the same moment as another
    check_rate(answer, [twin, after, inside])
    for _ in range(3):
        asked = rng.permutation(rng.integers(1, 900, 7)).tolist()
        check_rate(answer, [request(rng, a, int(rng.integers(1, 12))) for a in asked])


def counted(shapes, cache, lengths, itemsize, tpot, peak, slip=None):
    """MBU, number by number and text by text."""
    l, B, n_kv, max_length, H = cache
    weights = 0
    for shape in shapes:
        weights += shape[0] if slip == "first axis" else math.prod(shape)
    cached = 0
    for length in lengths:
        for _ in range(1 if slip == "one layer" else l):
            heads = 1 if slip == "one head" else n_kv
            places = max_length if slip == "allocated" else length
            cached += (1 if slip == "keys" else 2) * heads * places * H
    if slip == "no cache":
        cached = 0
    if slip == "mean":
        cached = cached / len(lengths)
    if slip == "longest":
        cached = cached / sum(lengths) * max(lengths) * B
    if slip == "B times":
        cached *= B
    if slip == "weights B times":
        weights *= B
    number = 1 if slip == "numbers" else itemsize
    used = number * (weights + cached) / tpot
    if slip == "times":
        used *= tpot**2
    if slip == "percent":
        used *= 100
    return peak / used if slip == "upside down" else used if slip == "rate" else used / peak


SLIPS_OF_MBU = {
    "the bytes of the cache are not counted": "no cache",
    "keys are counted, values are not": "keys",
    "the cache is counted as large as its memory, not as many tokens as are in it": "allocated",
    "the cache is counted for one text, not for all of the batch": "mean",
    "every text is counted as long as the longest": "longest",
    "lengths has an entry for each text already, and B is counted once more": "B times",
    "the weights are read once for the batch, not once for each text": "weights B times",
    "the cache of one layer is counted, not of all": "one layer",
    "the cache is counted for one head": "one head",
    "numbers are counted, not their bytes": "numbers",
    "bytes a second are bytes over TPOT, not times TPOT": "times",
    "a share of the peak is at most 1: this is in percent": "percent",
    "this is the peak over what is used, upside down": "upside down",
    "these are bytes a second, not yet their share of the peak": "rate",
}


def check_mbu(answer, *arguments):
    expect(
        answer.mbu(*arguments),
        float(counted(*arguments)),
        {words: float(counted(*arguments, slip=slip)) for words, slip in SLIPS_OF_MBU.items()},
    )


def test_mbu_of_a_small_model_by_hand(answer):
    # Weights 20 + 5 = 25 numbers. Three layers, 1 head, H = 5, texts of 1, 2, 2 and 5 tokens:
    # 2 · 3 · 1 · 5 · (1 + 2 + 2 + 5) = 300 numbers. 325 · 2 bytes in 0.25 s are 2600 bytes a
    # second, of 5000.
    check_mbu(answer, [(4, 5), (5,)], (3, 4, 1, 7, 5), [1, 2, 2, 5], 2, 0.25, 5000.0)


def test_mbu_of_batches_of_texts_of_any_length(answer, rng):
    for B, itemsize in ((1, 4), (3, 2), (5, 1)):
        shapes = [(7, 5), (5, 11), (11,), (2, 3, 4)]
        lengths = rng.integers(1, 30, B).tolist()
        check_mbu(answer, shapes, (3, B, 2, 40, 6), lengths, itemsize, 0.0173, 1.3e6)


def test_mbu_of_a_model_as_large_as_smollm2(answer):
    block = [(576, 576), (576, 192), (576, 192), (576, 576), (576, 1536), (576, 1536), (1536, 576)]
    shapes = [(49152, 576), *(block + [(576,), (576,)]) * 30, (576,)]
    check_mbu(answer, shapes, (30, 4, 3, 2048, 64), [100, 700, 1, 2048], 4, 0.021, 3.3e10)


def most(weight_bytes, cache_bytes, peak, utilisation, limit, slip=None):
    """The largest batch, by trying one text after the other."""
    if slip == "utilisation":
        utilisation = 1.0
    if slip == "over utilisation":
        utilisation = 1 / utilisation
    B = 0
    while B < 100_000:
        moved = weight_bytes + (B + 1) * cache_bytes
        if slip == "weights":
            moved -= weight_bytes
        if slip == "weights each":
            moved = (B + 1) * (weight_bytes + cache_bytes)
        if slip == "whole limit each":
            moved /= B + 1
        step = moved / (peak * utilisation)
        if step > limit or (slip == "below" and step >= limit):
            break
        B += 1
    return B + 1 if slip == "rounded up" else B


SLIPS_OF_BATCHES = {
    "the weights have to be read as well": "weights",
    "the weights are read once for the batch, not once for each text": "weights each",
    "the peak is not reached: the rate is peak · utilisation": "utilisation",
    "the rate is peak · utilisation, not peak / utilisation": "over utilisation",
    "the batch is rounded up, and its TPOT passes the limit": "rounded up",
    "a TPOT that is just the limit is allowed": "below",
}


def check_batch(answer, *arguments):
    weight_bytes, cache_bytes, peak, utilisation, limit = arguments
    want = most(*arguments)
    exact = (limit * utilisation * peak - weight_bytes) / cache_bytes
    mistakes = {"a number of texts is an integer": float(exact)}
    if want == 0:
        mistakes["a single text is too much already: that is 0, not 1"] = 1
    if exact < 0:
        mistakes["fewer than no texts cannot be served: 0 is the least"] = math.floor(exact)
        mistakes["there is less than no room for a text: 0 is the least"] = int(exact)
    mistakes |= {words: most(*arguments, slip=slip) for words, slip in SLIPS_OF_BATCHES.items()}
    expect(answer.largest_batch(*arguments), want, mistakes)


def test_largest_batch_by_hand(answer):
    # At 2000 · 0.5 = 1000 bytes a second, 0.75 s are 750 bytes: 400 for weights, 3 caches of 100.
    check_batch(answer, 400, 100, 2000, 0.5, 0.75)


def test_a_step_may_take_just_as_long_as_the_limit(answer):
    # 1024 bytes a second for 2 s: 2048 bytes, 1024 for weights and 4 caches of 256, no byte left.
    check_batch(answer, 1024, 256, 4096, 0.25, 2.0)


def test_largest_batch_of_many_sizes(answer, rng):
    for limit in (0.05, 0.11, 0.2):
        weight_bytes, cache_bytes = int(rng.integers(10**8, 10**9)), int(rng.integers(10**6, 10**7))
        check_batch(answer, weight_bytes, cache_bytes, 33_000_000_007, 0.61, limit)


def test_no_text_fits_where_the_weights_alone_take_too_long(answer):
    check_batch(answer, 5000, 100, 2000, 0.5, 0.75)
    check_batch(answer, 700, 100, 2000, 0.5, 0.75)  # the weights would fit, a cache would not
    check_batch(answer, 100, 100, 2000, 0.5, 0.75)  # and so that not every answer is 0


def at(values, q, slip=None):
    """The percentile, by going along the broken line through the sorted values."""
    ordered = list(map(float, values)) if slip == "not sorted" else sorted(map(float, values))
    m = len(ordered)
    if slip == "downwards":
        ordered.reverse()
    place = q / 100 * (m if slip == "m" else m - 1)
    if slip == "fraction":
        place = q * (m - 1)
    place = min(place, m - 1)
    left = math.floor(place)
    rest = place - left
    if slip == "lower":
        rest = 0.0
    if slip == "nearest":
        left, rest = math.floor(place + 0.5), 0.0
    if slip == "middle":
        rest = 0.5 if rest else 0.0
    if slip == "wrong side":
        rest = 1 - rest if rest else 0.0
    if slip == "upper":
        rest = 1.0 if rest else 0.0
    right = min(left + 1, m - 1)
    return ordered[left] + rest * (ordered[right] - ordered[left])


SLIPS_OF_PERCENTILES = {
    "the values are not sorted first": "not sorted",
    "the values are sorted from the largest down": "downwards",
    "the nearest value is taken; the percentile lies between two": "nearest",
    "the place is counted in m values, but the last of them has the place m − 1": "m",
    "q is in percent, not a fraction": "fraction",
    "the value below is taken, with no way towards the next": "lower",
    "the value above is taken, with no way back towards the one below": "upper",
    "halfway between two values is right only where the place lies halfway": "middle",
    "the shares of the value below and of the one above are swapped": "wrong side",
}


def check_percentile(answer, values, q):
    mistakes = {
        words: (lambda s=slip: at(values, q, s)) for words, slip in SLIPS_OF_PERCENTILES.items()
    }
    mistakes["this is the mean"] = float(np.mean(values))
    expect(answer.percentile(values, q), at(values, q), mistakes)


def test_percentiles_of_five_values_by_hand(answer):
    values = np.array([30.0, 10.0, 80.0, 20.0, 40.0])
    check_percentile(answer, values, 50.0)  # the middle one, 30
    check_percentile(answer, values, 90.0)  # place 3.6: 0.6 of the way from 40 to 80, 64
    check_percentile(answer, values, 5.0)  # place 0.2: 0.2 of the way from 10 to 20, 12


def test_percentiles_from_the_smallest_value_to_the_largest(answer, rng):
    for m in (2, 7, 31):
        values = rng.exponential(0.02, m) + 0.01
        for q in (0.0, 13.0, 50.0, 95.0, 99.0, 100.0):
            check_percentile(answer, values, q)


def test_a_single_value_is_every_percentile(answer):
    for q in (0.0, 40.0, 100.0):
        expect(answer.percentile(np.array([0.375]), q), 0.375)


def kept_rate(requests, ttft_limit, gap_limit, q, slip=None):
    """Answers that keep the promise, one by one, over the seconds."""
    kept = []
    for asked, arrivals in requests:
        first = arrivals[0] if slip == "clock" else arrivals[0] - asked
        gaps = [later - earlier for earlier, later in pairwise(arrivals)]
        if slip == "first gap":
            gaps = [first, *gaps]
        middle = math.fsum(gaps) / max(len(gaps), 1) if slip == "mean" else None
        worst = middle if middle is not None else at(gaps, q) if gaps else 0.0
        if slip == "longest" and gaps:
            worst = max(gaps)
        quick, steady = first <= ttft_limit, worst <= gap_limit
        if slip == "below":
            quick, steady = first < ttft_limit, worst < gap_limit
        if slip == "single" and not gaps:
            steady = False
        if slip == "single kept" and not gaps:
            quick = True
        kept.append(
            {"ttft": quick, "gaps": steady, "one": quick or steady}.get(slip, quick and steady)
        )
    start = min(asked for asked, _ in requests)
    end = max(float(arrivals[-1]) for _, arrivals in requests)
    number = sum(kept)
    if slip == "tokens":
        number = sum(len(arrivals) for ok, (_, arrivals) in zip(kept, requests) if ok)
    if slip == "share":
        return number / len(requests)
    if slip == "count":
        return float(number)
    if slip == "from 0":
        start = 0.0
    if slip == "list order":
        start, end = requests[0][0], float(requests[-1][1][-1])
    if slip == "last asked":
        end = float(max(requests, key=lambda request: request[0])[1][-1])
    if slip == "busy":
        return number / (sum(len(arrivals) for _, arrivals in requests) / rate(requests))
    if slip == "only the good":
        good = [r for ok, r in zip(kept, requests) if ok] or requests
        start = min(asked for asked, _ in good)
        end = max(float(arrivals[-1]) for _, arrivals in good)
    return number / (end - start) if end != start else math.inf


SLIPS_OF_GOODPUT = {
    "an answer of one token counts only if its TTFT is within the limit": "single kept",
    "only TTFT is looked at, not the gaps": "ttft",
    "only the gaps are looked at, not TTFT": "gaps",
    "one of the two limits is enough here; an answer must keep both": "one",
    "TTFT counts from when the request came, not from 0 on the clock": "clock",
    "the wait for the first token is no gap": "first gap",
    "the mean of the gaps is compared with the limit, not their percentile": "mean",
    "the longest gap is compared with the limit, not the q-th percentile": "longest",
    "what is just at a limit keeps it": "below",
    "an answer of one token has no gaps, so it cannot break that limit": "single",
    "tokens are counted, not answers": "tokens",
    "this is the share of all answers, not their number a second": "share",
    "this is a number of answers, not yet divided by the seconds": "count",
    "the seconds count from the first request, not from 0 on the clock": "from 0",
    "the first and the last of the list need not be the first and the last in time": "list order",
    "the last to ask need not be the last to be done": "last asked",
    "time in which there is no request counts too: goodput is over all the seconds": "busy",
    "time is counted only from and to the answers that keep the promise": "only the good",
}


def check_goodput(answer, requests, *limits):
    expect(
        answer.goodput(requests, *limits),
        float(kept_rate(requests, *limits)),
        {
            words: lambda s=slip: float(kept_rate(requests, *limits, slip=s))
            for words, slip in SLIPS_OF_GOODPUT.items()
        },
    )


QUICK = (5.0, np.array([5.25, 5.5, 5.75, 6.0, 6.25]))  # TTFT 0.25, gaps of 0.25
LATE = (4.0, np.array([7.0, 7.25, 7.5]))  # TTFT 3, gaps of 0.25
LATER = (4.5, np.array([6.0, 6.25]))  # TTFT 1.5, a gap of 0.25
TORN = (1.0, np.array([1.5, 1.625, 1.75, 3.5]))  # TTFT 0.5, gaps 0.125, 0.125, 1.75
UNEVEN = (1.25, np.array([1.375, 1.5, 1.625, 2.125]))  # TTFT 0.125, gaps 0.125, 0.125, 0.5
EASY = (9.0, np.array([9.125, 9.25, 9.375]))  # TTFT and gaps of 0.125
SHORT = (3.0, np.array([3.5]))  # TTFT 0.5, no gaps


def test_goodput_of_four_answers_by_hand(answer):
    # Two begin in time, and one of these is torn. So one is left, from 1 s to 7.5 s: 1/6.5.
    check_goodput(answer, [LATE, QUICK, TORN, LATER], 1.0, 0.5, 100.0)


def test_goodput_by_percentiles_of_the_gaps(answer):
    # Of TORN's gaps the median is 0.125, the mean 0.67, and p90 is 1.425.
    for q, limit in ((50.0, 0.4), (50.0, 0.3), (90.0, 1.0), (90.0, 1.5), (90.0, 0.3), (0.0, 0.2)):
        check_goodput(answer, [TORN, QUICK, UNEVEN, LATE], 1.0, limit, q)


def test_goodput_counts_what_is_just_at_a_limit(answer):
    check_goodput(answer, [LATE, QUICK, EASY, TORN], 0.25, 0.25, 100.0)
    check_goodput(answer, [QUICK, EASY, TORN, LATE], 3.0, 0.25, 100.0)


def test_goodput_of_an_answer_of_one_token(answer):
    check_goodput(answer, [LATE, SHORT, QUICK], 1.0, 0.5, 95.0)
    check_goodput(answer, [SHORT, TORN], 1.0, 0.5, 95.0)
    check_goodput(answer, [QUICK, SHORT, EASY], 0.3, 0.5, 95.0)


def test_goodput_of_many_answers(answer, rng):
    for q, m in ((50.0, 4), (50.0, 40), (95.0, 40)):
        asked = rng.integers(9, 900, m).tolist()
        requests = [request(rng, a, int(rng.integers(1, 15))) for a in asked]
        # The limits lie between the times that are possible, so rounding decides nothing.
        check_goodput(answer, requests, 0.2003, 0.2003, q)
