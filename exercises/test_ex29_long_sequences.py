"""Tests of exercise 29: long sequences."""

import math

import numpy as np

from minigrad.course.testing import at_most, expect, fail, per_rank

MESSAGES = ("send", "recv", "send_recv", "isend", "irecv")

# The references below attend one query and one key at a time.


def parts(q, k, v, mask, slip=None):
    """(top, total, mixed), query by query."""
    n, H = q.shape
    top, total, mixed = np.full((n, 1), -np.inf), np.zeros((n, 1)), np.zeros((n, H))
    divisor = 1.0 if slip == "no root" else H if slip == "H" else math.sqrt(H)
    for i in range(n):
        scores = [float(q[i] @ key) / divisor for key in k]
        seen = [j for j in range(len(k)) if mask[i, j] or slip == "no mask"]
        if slip == "turned":
            seen = [j for j in range(len(k)) if not mask[i, j]]
        if not seen:
            continue
        top[i] = max(scores if slip == "too early" else [scores[j] for j in seen])
        for j in seen:
            power = math.exp(scores[j] - (0.0 if slip == "no top" else float(top[i, 0])))
            total[i] += power
            mixed[i] += power * v[j]
        if slip == "divided":
            mixed[i] /= total[i]
    return top, total, mixed


SLIPS_OF_PARTS = {
    "the scores are not divided by √H": "no root",
    "the scores are divided by H, not by √H": "H",
    "the mask is not used": "no mask",
    "the mask is turned round: True is what a query sees": "turned",
    "mixed is divided by total already, and no other part can be added to it": "divided",
    "the largest score is taken before the mask; a hidden one may be larger": "too early",
    "the largest score is not subtracted before exp": "no top",
}


def slips_of_parts(*given):
    return {words: lambda s=s: parts(*given, s) for words, s in SLIPS_OF_PARTS.items()}


def with_nan(part):
    """What comes of ∞ − ∞, in the rows that see nothing."""
    top, total, mixed = (each.copy() for each in part)
    blind = np.isneginf(top[:, 0])
    total[blind], mixed[blind] = np.nan, np.nan
    return top, total, mixed


NAN = "a row that has seen nothing becomes NaN: −∞ − (−∞) is no number"


@np.errstate(all="ignore")
def merged_wrongly(a, b):
    """{words: what a wrong merge gives} of two parts."""
    top, low = np.maximum(a[0], b[0]), np.minimum(a[0], b[0])
    keep, add = np.exp(a[0] - top), np.exp(b[0] - top)
    return {
        "the parts are added as they are, and not brought to the same top first": (
            top,
            a[1] + b[1],
            a[2] + b[2],
        ),
        "total is brought to the new top, and mixed is not": (
            top,
            a[1] * keep + b[1] * add,
            a[2] + b[2],
        ),
        "the weights are turned round: e^(new − old) in place of e^(old − new)": (
            top,
            a[1] / keep + b[1] / add,
            a[2] / keep + b[2] / add,
        ),
        "the smaller top is kept, and a large score overflows": (
            low,
            a[1] * np.exp(a[0] - low) + b[1] * np.exp(b[0] - low),
            a[2] * np.exp(a[0] - low) + b[2] * np.exp(b[0] - low),
        ),
        "the result is divided by total already": (
            top,
            a[1] * keep + b[1] * add,
            (a[2] * keep + b[2] * add) / (a[1] * keep + b[1] * add),
        ),
    }


@np.errstate(all="ignore")
def mean_of(scores, values, slip=None):
    """(H,): the values, weighed by the softmax of the scores; NaN for none."""
    if not len(scores):
        return np.nan
    powers = np.exp(np.array(scores) - (0.0 if slip == "no top" else max(scores)))
    mixed = sum(p * v for p, v in zip(powers, values))
    return mixed if slip == "undivided" else mixed / sum(powers)


def attention(q, k, v, slip=None, n=None):
    """(L, H): causal attention of one head, query by query; n is L/P."""
    L, H = q.shape
    sees = {
        "no mask": lambda i, j: True,
        "strict": lambda i, j: j < i,
        "eager": lambda i, j: j <= i + 1,
        "turned": lambda i, j: j >= i,
        "local": lambda i, j: j % n <= i % n,
    }.get(slip, lambda i, j: j <= i)
    y = np.zeros((L, H))
    for i in range(L):
        seen = [j for j in range(L) if sees(i, j)]
        y[i] = mean_of([float(q[i] @ k[j]) / math.sqrt(H) for j in seen], v[seen], slip)
    return y


def test_one_query_and_two_keys_by_hand(answer):
    # Scores ln 2 and ln 6, in √4 = 2 parts: q·k is 2 ln 2 and 2 ln 6. Weights 1/3 and 1.
    q, k = np.array([[2.0, 0, 0, 0]]), np.zeros((2, 4))
    k[:, 0] = np.log([2.0, 6.0])
    v = np.array([[3.0, 0, 3, 6], [1.0, 1, 0, 0]])
    given = q, k, v, np.array([[True, True]])
    want = np.array([[math.log(6)]]), np.array([[4 / 3]]), np.array([[2.0, 1, 1, 2]])
    expect(answer.partial_softmax(*given), want, slips_of_parts(*given))


def test_a_part_agrees_with_a_loop_over_queries_and_keys(answer, rng):
    for n, m, H in ((4, 6, 3), (5, 1, 2), (1, 7, 5)):
        q, k, v = rng.normal(size=(n, H)) * 3, rng.normal(size=(m, H)), rng.normal(size=(m, H))
        mask = rng.random((n, m)) < 0.6
        mask[:, 0] = True
        given = q, k, v, mask
        expect(answer.partial_softmax(*given), parts(*given), slips_of_parts(*given))


def test_large_hidden_scores_do_not_matter(answer, rng):
    q, k, v = rng.normal(size=(3, 2)), rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    q[:, 0], k[:, 0] = 30.0, [90.0, 1.0, 2.0, -3.0, 50.0]
    given = q, k, v, np.tile([False, True, True, True, False], (3, 1))
    expect(answer.partial_softmax(*given), parts(*given), slips_of_parts(*given))


def test_a_query_that_sees_nothing_has_a_total_of_0(answer, rng):
    q, k, v = rng.normal(size=(3, 2)), rng.normal(size=(4, 2)), rng.normal(size=(4, 2))
    mask = np.array([[True, False, True, False], [False] * 4, [True, True, False, False]])
    want = parts(q, k, v, mask)
    slips = {NAN: with_nan(want)} | slips_of_parts(q, k, v, mask)
    expect(answer.partial_softmax(q, k, v, mask), want, slips)


def test_two_parts_merged_by_hand(answer):
    a = np.array([[0.0]]), np.array([[1.0]]), np.array([[5.0, 2.0]])
    b = np.log([[3.0]]), np.array([[1.0]]), np.array([[1.0, 1.0]])
    want = np.log([[3.0]]), np.array([[4 / 3]]), np.array([[8 / 3, 5 / 3]])
    expect(answer.merge(a, b), want, merged_wrongly(a, b))
    expect(answer.merge(b, a), want, merged_wrongly(b, a))


def test_merged_parts_are_those_of_all_keys(answer, rng):
    for n, m, H in ((4, 6, 3), (2, 9, 2)):
        q, k, v = rng.normal(size=(n, H)) * 4, rng.normal(size=(m, H)), rng.normal(size=(m, H))
        mask, cut = np.ones((n, m), bool), m // 3
        a, b = (parts(q, k[c], v[c], mask[:, c]) for c in (slice(0, cut), slice(cut, m)))
        expect(answer.merge(a, b), parts(q, k, v, mask), merged_wrongly(a, b))


def test_very_different_parts_do_not_overflow(answer, rng):
    a = np.array([[2000.0], [-900.0]]), np.array([[2.0], [3.0]]), rng.normal(size=(2, 3))
    b = np.array([[-1500.0], [800.0]]), np.array([[1.0], [5.0]]), rng.normal(size=(2, 3))
    want = (
        np.array([[2000.0], [800.0]]),
        np.array([[2.0], [5.0]]),
        np.array([a[2][0], b[2][1]]),
    )
    expect(answer.merge(a, b), want, merged_wrongly(a, b))


def test_rows_that_have_seen_nothing_are_merged(answer, rng):
    q, k, v = rng.normal(size=(3, 2)), rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    mask = np.ones((3, 5), bool)
    mask[0, :2], mask[1], mask[2, 2:] = False, False, False
    a, b = (parts(q, k[c], v[c], mask[:, c]) for c in (slice(0, 2), slice(2, 5)))
    want = parts(q, k, v, mask)
    expect(answer.merge(a, b), want, {NAN: with_nan(want)} | merged_wrongly(a, b))


def held(length, P, rank, slip=None):
    """The positions of a rank, one after the other."""
    chunk = length // (2 * P)
    owner = [i // chunk for i in range(length + chunk)]  # a chunk too many, for "one off"
    late = {"wrong end": P + rank, "one off": 2 * P - rank}.get(slip, 2 * P - 1 - rank)
    found = [i for i in range(length) if owner[i] == rank]
    found += [i for i, chunk in enumerate(owner) if chunk == late]
    if slip == "contiguous":
        found = [i for i in range(length) if owner[i] // 2 == rank]
    if slip == "single":
        found = sorted(i for i in range(length) if i % (2 * P) in (rank, 2 * P - 1 - rank))
    return np.array(found, np.int64)


SLIPS_OF_POSITIONS = {
    "the second chunk is P + r: the late ones must count down, 2P − 1 − r": "wrong end",
    "the second chunk is one too far: chunks count from 0, so the last is 2P − 1": "one off",
    "these are two chunks side by side": "contiguous",
    "single positions go zig-zag, not chunks": "single",
}


def slips_of_positions(*given):
    return {words: lambda s=s: held(*given, s) for words, s in SLIPS_OF_POSITIONS.items()}


def test_positions_of_two_ranks_by_hand(answer):
    expect(answer.zigzag_positions(8, 2, 0), np.array([0, 1, 6, 7]), slips_of_positions(8, 2, 0))
    expect(answer.zigzag_positions(8, 2, 1), np.array([2, 3, 4, 5]), slips_of_positions(8, 2, 1))


def test_positions_of_any_rank(answer):
    for length, P in ((24, 4), (18, 3), (10, 1), (60, 5)):
        for rank in range(P):
            given = length, P, rank
            expect(answer.zigzag_positions(*given), held(*given), slips_of_positions(*given))


def counted(length, P, layout, slip=None):
    """Pairs of each rank, pair by pair."""
    found = []
    for rank in range(P):
        mine = held(length, P, rank, "contiguous" if layout == "contiguous" else None)
        keys = mine if slip == "own keys" else range(length)
        sees = {
            "strict": lambda i, j: j < i,
            "all": lambda i, j: True,
            "turned": lambda i, j: j >= i,
        }.get(slip, lambda i, j: j <= i)
        found.append(sum(sees(i, j) for i in mine for j in keys))
    return [int(pairs) for pairs in found]


SLIPS_OF_WORK = {
    "a position does not see itself": "strict",
    "the mask is not used": "all",
    "a position sees itself and those after it": "turned",
    "only the rank's own keys are counted": "own keys",
}


def slips_of_work(length, P, layout):
    slips = {words: lambda s=s: counted(length, P, layout, s) for words, s in SLIPS_OF_WORK.items()}
    other = "zigzag" if layout == "contiguous" else "contiguous"
    return slips | {"the layouts are exchanged": lambda: counted(length, P, other)}


def test_work_of_two_ranks_by_hand(answer):
    # Positions 0 1 | 2 3 see 1 + 2 and 3 + 4; zig-zag 0 3 | 1 2 see 1 + 4 and 2 + 3.
    expect(answer.work(4, 2, "contiguous"), [3, 7], slips_of_work(4, 2, "contiguous"))
    expect(answer.work(4, 2, "zigzag"), [5, 5], slips_of_work(4, 2, "zigzag"))


def test_work_of_any_number_of_ranks(answer):
    for length, P in ((24, 3), (40, 4), (6, 1)):
        for layout in ("contiguous", "zigzag"):
            given = length, P, layout
            expect(answer.work(*given), counted(*given), slips_of_work(*given))


SLIPS_OF_ATTENTION = {
    "there is no mask: positions see those after them": "no mask",
    "a position does not see itself": "strict",
    "the mask is one place too wide: a position sees the one after it": "eager",
    "the mask is turned round: a position sees itself and those after it": "turned",
    "the largest score is not subtracted before exp, which gives ∞ or 0 for all": "no top",
    "mixed is not divided by total": "undivided",
}


def heads_by_hand(q, k, v, P, slip=None):
    """[(n_h, L/P, H) of each rank] of q, k, v (n_h, L, H)."""
    y = np.array([attention(*head, slip, q.shape[1] // P) for head in zip(q, k, v)])
    return np.split(y, P, axis=1)


SLIPS_OF_HEADS = SLIPS_OF_ATTENTION | {
    "the mask is of places in the rank's own piece; after the exchange it has all L": "local",
}


def check_heads(answer, rng, P, n_h, L, H, scale=2.0):
    q, k, v = rng.normal(size=(3, n_h, L, H)) * np.array([scale, 2, 2])[:, None, None, None]
    given = [per_rank([part.copy() for part in np.split(x, P, axis=1)]) for x in (q, k, v)]
    run = answer.ulysses_attention.on_ranks(P, may_use=("all_to_all",))(*given)
    slips = {words: lambda s=s: heads_by_hand(q, k, v, P, s) for words, s in SLIPS_OF_HEADS.items()}
    cut = [[np.split(x, P, axis=1)[r] for x in (q, k, v)] for r in range(P)]
    slips["only the rank's own positions are seen"] = lambda: [
        np.array([attention(*head) for head in zip(*each)]) for each in cut
    ]
    expect(run, heads_by_hand(q, k, v, P), slips)
    return run


def test_heads_of_one_rank(answer, rng):
    check_heads(answer, rng, P=1, n_h=2, L=5, H=3)


def test_heads_of_many_ranks(answer, rng):
    check_heads(answer, rng, P=2, n_h=2, L=6, H=3)
    check_heads(answer, rng, P=3, n_h=6, L=9, H=2)
    check_heads(answer, rng, P=4, n_h=4, L=8, H=5)
    check_heads(answer, rng, P=2, n_h=2, L=6, H=3, scale=2000)  # e^score is ∞, or 0


def test_four_exchanges_and_no_more(answer, rng):
    run = check_heads(answer, rng, P=4, n_h=8, L=8, H=2)
    one = 8 * 2 * 2 * 8  # bytes of q: 8 heads, 2 positions, 2 numbers of 8 bytes
    words = "more is exchanged than q, k, v and the result, once each"
    at_most(max(run.traffic.sent()), 4 * one * 3 // 4, "bytes that a rank sends", words)


def ring_by_hand(q, k, v, places, slip=None):
    """[(L/P, H) of each rank]; q, k, v (L, H) in order, places [positions of each rank]."""
    found, P = [], len(places)
    for rank, mine in enumerate(places):
        parts = []  # those of each step: [(scores, values) of each query]
        for step in range(1 if slip == "own keys" else P):
            source = (rank - step) % P
            mask = sees(mine, places[source], len(mine) * (rank - source), slip)
            values = v[places[rank if slip == "own values" else source]]
            scores = q[mine] @ k[places[source]].T / math.sqrt(q.shape[1])
            parts.append([(s[see].tolist(), values[see]) for s, see in zip(scores, mask)])
        rows = [tuple(np.concatenate(both) for both in zip(*row)) for row in zip(*parts)]
        y = np.array([np.zeros(q.shape[1]) + mean_of(*row, slip) for row in rows])
        if slip == "unmerged":
            y = np.array([unmerged(row) for row in zip(*parts)])
        found.append(y[np.argsort(mine)] if slip == "sorted" else y)
    return found


def sees(mine, theirs, apart, slip):
    """The mask, (queries, keys), of which the keys' rank is ``apart`` positions before, if ranks
    held contiguous positions."""
    query, key, row = mine[:, None], theirs[None, :], np.arange(len(mine))
    return {
        "no mask": np.full((len(mine), len(mine)), True),
        "strict": key < query,
        "eager": key <= query + 1,
        "turned": key >= query,
        "transposed": mine[None, :] >= theirs[:, None],
        "own places": mine[None, :] <= query,
        "contiguous": row[None, :] <= row[:, None] + apart,
    }.get(slip, key <= query)


def unmerged(parts):
    """Sums of mixed and total of the parts of a row, each relative to its own largest score."""
    parts = [part for part in parts if len(part[0])]
    totals = [sum(math.exp(s - max(scores)) for s in scores) for scores, _ in parts]
    return sum(mean_of(*part, "undivided") for part in parts) / sum(totals)


SLIPS_OF_RING = SLIPS_OF_ATTENTION | {
    "the mask is transposed: rows are queries and columns are keys": "transposed",
    "only the rank's own keys are seen": "own keys",
    "keys travel and their places do not: they are masked as if they were the rank's own": (
        "own places"
    ),
    "keys travel and values do not": "own values",
    "the mask takes rank r to have positions r·L/P and so on; places says which it has": (
        "contiguous"
    ),
    "parts are added as they are; merge brings them to the same top first": "unmerged",
    "the result is sorted by places; its rows are in the order of q": "sorted",
}


def check_ring(answer, rng, places, H, scale=2.0):
    L = sum(map(len, places))
    q, k, v = rng.normal(size=(3, L, H)) * np.array([scale, 2, 2])[:, None, None]
    given = [per_rank([x[mine] for mine in places]) for x in (q, k, v)]
    run = answer.ring_attention.on_ranks(len(places), may_use=MESSAGES)(
        *given, per_rank([mine.copy() for mine in places])
    )
    slips = {
        words: lambda s=s: ring_by_hand(q, k, v, places, s) for words, s in SLIPS_OF_RING.items()
    }
    y = attention(q, k, v)
    expect(run, [y[mine] for mine in places], slips)
    return run


def test_ring_of_two_ranks(answer, rng):
    check_ring(answer, rng, [np.arange(3), np.arange(3, 6)], H=2)


def test_ring_of_contiguous_and_zigzag_shards(answer, rng):
    for P, L, H in ((1, 5, 2), (3, 12, 4), (4, 8, 3)):
        check_ring(answer, rng, np.split(np.arange(L), P), H)
    for P, L in ((2, 8), (3, 12)):
        check_ring(answer, rng, [held(L, P, rank) for rank in range(P)], H=3)


def test_ring_of_positions_in_any_order(answer, rng):
    check_ring(answer, rng, np.split(rng.permutation(12), 4), H=3)
    check_ring(answer, rng, np.split(rng.permutation(9), 3), H=2, scale=2000)


def test_each_rank_passes_on_to_the_right_p_minus_1_times(answer, rng):
    run = check_ring(answer, rng, [held(16, 4, rank) for rank in range(4)], H=3)
    for rank in range(4):
        right = (rank + 1) % 4
        if run.traffic.bytes(source=rank) > run.traffic.bytes(source=rank, destination=right):
            told = f"The values are right. But rank {rank} sends to others than rank {right}."
            left = run.traffic.bytes(source=rank, destination=(rank - 1) % 4)
            words = "keys go round to the left; the ring goes from rank r to r + 1"
            fail(told + f"\n\nLikely mistake: {words}." * bool(left))
    enough = 3 * 4 * (2 * 3 + 1) * 8  # steps, positions, numbers of k, v and places, bytes
    words = "keys are passed on once too often, or more than k, v and places goes round"
    at_most(max(run.traffic.sent()), enough, "bytes that a rank sends", words)
