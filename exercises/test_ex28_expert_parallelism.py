"""Tests of exercise 28: expert parallelism."""

import math

import numpy as np

from minigrad.course.testing import at_most, expect, per_rank

EXCHANGES = ("all_to_all", "all_to_all_rows")

# The references below go token by token and choice by choice.


def routed(scores, k, slip=None):
    """(experts, gates) of each token."""
    T, E = scores.shape
    experts, gates = np.zeros((T, k), np.int64), np.zeros((T, k))
    for t in range(T):
        sign = 1 if slip == "smallest" else -1
        chosen = sorted(range(E), key=lambda e: (sign * scores[t, e], e))[:k]
        if slip == "by number":
            chosen = sorted(chosen)
        if slip == "ascending":
            chosen = chosen[::-1]
        over = range(E) if slip == "all" else chosen
        if slip == "no softmax":
            powers = {e: scores[t, e] for e in over}
        else:
            top = max(scores[t, e] for e in over)
            powers = {e: math.exp(scores[t, e] - top) for e in over}
        total = sum(powers.values())
        experts[t] = chosen
        gates[t] = [powers[e] / total for e in chosen]
        if slip == "no sum":
            gates[t] = [math.exp(min(scores[t, e], 700.0)) for e in chosen]
    return experts, gates


SLIPS_OF_ROUTE = {
    "the softmax is taken over all experts, not over the chosen ones": "all",
    "the smallest scores are chosen, not the largest": "smallest",
    "the chosen experts are ordered by number; the largest score comes first": "by number",
    "the smallest of the chosen scores comes first": "ascending",
    "the gates are shares of the scores, not of their powers e^score": "no softmax",
    "the gates are not divided by their sum": "no sum",
}


def slips_of_route(scores, k):
    return {words: lambda s=s: routed(scores, k, s) for words, s in SLIPS_OF_ROUTE.items()}


def queued(experts, E, capacity, slip=None):
    """(token, choice, counts), one choice after the other."""
    T, k = experts.shape
    places = [(choice, token) for choice in range(k) for token in range(T)]
    if slip == "by token":
        places.sort(key=lambda place: place[::-1])
    if slip == "last first":
        places.reverse()
    taken, asked, rows = [0] * E, [0] * E, []
    for choice, token in places:
        expert = experts[token, choice]
        asked[expert] += 1
        room = capacity + (slip == "one more")
        if taken[expert] < room or slip == "all":
            taken[expert] += 1
            rows.append((expert, choice, token))
    key = (lambda row: row[0]) if slip == "by token" else None
    rows = rows if slip == "not sorted" else sorted(rows, key=key)
    if slip == "tokens in order":
        rows = sorted(rows, key=lambda row: (row[0], row[2]))
    counts = asked if slip == "asked" else taken
    return (
        np.array([token for _, _, token in rows], np.int64),
        np.array([choice for _, choice, _ in rows], np.int64),
        np.array(counts, np.int64),
    )


SLIPS_OF_QUEUE = {
    "an expert's rows are in the order of tokens; all first choices go before second ones": (
        "tokens in order"
    ),
    "a token's second choice queues before the first choices of later tokens": "by token",
    "the last of a queue are taken, and the first dropped": "last first",
    "an expert takes one row more than its capacity": "one more",
    "nothing is dropped": "all",
    "the rows are in the order of the choices, not sorted by expert": "not sorted",
    "counts are of all that queued, not of those that found a place": "asked",
}


def slips_of_queue(*given):
    return {words: lambda s=s: queued(*given, s) for words, s in SLIPS_OF_QUEUE.items()}


def balance(scores, experts, slip=None):
    """E · Σ f·P, one expert after the other."""
    T, E = scores.shape
    k, loss = experts.shape[1], 0.0
    for e in range(E):
        chosen = sum(int(experts[t, c] == e) for t in range(T) for c in range(k))
        if slip == "first":
            chosen = k * sum(int(experts[t, 0] == e) for t in range(T))
        f = chosen / (T if slip == "sum k" else T * k)
        p = [math.exp(scores[t, e]) / sum(map(math.exp, scores[t])) for t in range(T)]
        if slip == "best":
            p = [float(scores[t, e] == max(scores[t])) for t in range(T)]
        if slip == "no softmax":
            p = [scores[t, e] for t in range(T)]
        loss += f * sum(p) / T
    return loss if slip == "no E" else loss / E if slip == "mean" else E * loss


SLIPS_OF_BALANCE = {
    "the factor E is missing": "no E",
    "the mean over experts is taken, not E times the sum": "mean",
    "only first choices are counted": "first",
    "f is divided by T, not by T·k: its shares must sum to 1": "sum k",
    "P counts who has the largest score; it is a mean of probabilities": "best",
    "P is a mean of scores, not of probabilities": "no softmax",
}


def slips_of_balance(*given):
    return {words: lambda s=s: balance(*given, s) for words, s in SLIPS_OF_BALANCE.items()}


def test_three_experts_by_hand_of_which_two_are_chosen(answer):
    scores = np.log([[1.0, 3.0, 6.0], [5.0, 1.0, 5.0]])
    expect(
        answer.route(scores, 2),
        (np.array([[2, 1], [0, 2]]), np.array([[2 / 3, 1 / 3], [0.5, 0.5]])),
        slips_of_route(scores, 2),
    )


def test_route_agrees_with_a_loop_over_tokens(answer, rng):
    for T, E, k in ((5, 4, 2), (1, 7, 3), (6, 3, 3), (4, 5, 1)):
        scores = rng.normal(size=(T, E)) * 2
        expect(answer.route(scores, k), routed(scores, k), slips_of_route(scores, k))


def test_large_scores_do_not_overflow(answer, rng):
    scores = rng.normal(size=(4, 5)) + 2000 * rng.choice([-1, 1], size=(4, 1))
    words = "the largest score is not subtracted before exp, which gives ∞ or 0 for all"
    with np.errstate(all="ignore"):
        experts, _ = routed(scores, 3)
        powers = np.exp(np.take_along_axis(scores, experts, 1))
        wrong = experts, powers / powers.sum(axis=1, keepdims=True)
    expect(answer.route(scores, 3), routed(scores, 3), {words: wrong})


def test_four_tokens_queue_by_hand_and_all_find_a_place(answer):
    # Expert 0: tokens 0, 2, 3 want it first, and token 1 second.
    experts = np.array([[0, 1], [2, 0], [0, 2], [0, 1]])
    want = ([0, 2, 3, 1, 0, 3, 1, 2], [0, 0, 0, 1, 1, 1, 0, 1], [4, 2, 2, 0])
    expect(
        answer.queue(experts, 4, 4),
        tuple(np.array(each, np.int64) for each in want),
        slips_of_queue(experts, 4, 4),
    )


def test_two_places_an_expert_by_hand(answer):
    experts = np.array([[1, 0], [0, 2], [0, 2], [0, 1]])
    want = ([1, 2, 0, 3, 1, 2], [0, 0, 0, 1, 1, 1], [2, 2, 2])
    expect(
        answer.queue(experts, 3, 2),
        tuple(np.array(each, np.int64) for each in want),
        slips_of_queue(experts, 3, 2),
    )


def test_queues_agree_with_a_loop_over_choices(answer, rng):
    for T, E, k, capacity in ((12, 4, 2, 5), (9, 6, 3, 3), (15, 5, 1, 2), (3, 8, 2, 1)):
        experts = np.array([rng.permutation(E)[:k] for _ in range(T)])
        experts[: T // 2, 0] = experts[0, 0]
        given = experts, E, capacity
        expect(answer.queue(*given), queued(*given), slips_of_queue(*given))


def test_balance_of_two_tokens_by_hand(answer):
    # Probabilities (3/4, 1/4) and (1/2, 1/2), mean (5/8, 3/8); both tokens choose expert 0.
    given = np.log([[3.0, 1.0], [1.0, 1.0]]), np.array([[0], [0]])
    expect(answer.balance_loss(*given), 1.25, slips_of_balance(*given))


def test_balance_of_any_scores_and_choices(answer, rng):
    for T, E, k in ((6, 4, 2), (11, 3, 1), (4, 7, 3)):
        given = rng.normal(size=(T, E)), np.array([rng.permutation(E)[:k] for _ in range(T)])
        expect(answer.balance_loss(*given), balance(*given), slips_of_balance(*given))


def sent(rows, counts):
    """[(arrived, coming) of each rank], a row after the other, and what slips make of it."""
    P, E = len(rows), len(counts[0])
    local, found, slips = E // P, [], {}
    for rank in range(P):
        arrived, coming = [], np.zeros((P, local), np.int64)
        for source in range(P):
            expert = np.repeat(np.arange(E), counts[source])
            for row, e in zip(rows[source], expert):
                if e // local == rank:
                    arrived.append(row)
                    coming[source, e % local] += 1
        found.append((np.array(arrived).reshape(-1, rows[0].shape[1]), coming))
    slips["coming is what this rank sends, not what comes to it"] = [
        (arrived, counts[r].reshape(P, local)) for r, (arrived, _) in enumerate(found)
    ]
    slips["coming is (P, E/P), a row for each rank that sends: it has been turned"] = [
        (arrived, coming.reshape(local, P).T.copy()) for arrived, coming in found
    ]
    return found, slips


def test_two_ranks_with_two_experts_each_send_by_hand(answer):
    rows = [np.array([[1.0], [2.0], [3.0]]), np.array([[4.0], [5.0], [6.0], [7.0]])]
    counts = [np.array([1, 0, 2, 0]), np.array([0, 2, 1, 1])]
    # Rank 0 keeps the row 1 and gets 4 and 5 for its expert 1; rank 1 gets 2, 3 and 6, 7.
    run = answer.send_to_experts.on_ranks(2, may_use=EXCHANGES)(per_rank(rows), per_rank(counts))
    want = [
        (np.array([[1.0], [4.0], [5.0]]), np.array([[1, 0], [0, 2]])),
        (np.array([[2.0], [3.0], [6.0], [7.0]]), np.array([[2, 0], [1, 1]])),
    ]
    expect(run, want, sent(rows, counts)[1])


def test_rows_go_to_the_ranks_of_their_experts(answer, rng):
    for P, local, D in ((3, 2, 4), (1, 3, 2), (4, 1, 3), (2, 5, 2)):
        counts = [rng.integers(0, 4, size=P * local) for _ in range(P)]
        rows = [rng.normal(size=(int(each.sum()), D)) for each in counts]
        run = answer.send_to_experts.on_ranks(P, may_use=EXCHANGES)(
            per_rank(rows), per_rank(counts)
        )
        want, slips = sent(rows, counts)
        expect(run, want, slips)


def test_no_more_is_sent_than_the_counts_and_the_rows(answer, rng):
    counts = [rng.integers(1, 4, size=6) for _ in range(3)]
    rows = [rng.normal(size=(int(each.sum()), 5)) for each in counts]
    run = answer.send_to_experts.on_ranks(3, may_use=EXCHANGES)(per_rank(rows), per_rank(counts))
    expect(run, sent(rows, counts)[0])
    for rank in range(3):
        away = counts[rank].sum() - counts[rank].reshape(3, 2)[rank].sum()
        enough = int(8 * 4 + 8 * 5 * away)  # counts for the 4 experts of others, and rows
        words = "something is exchanged that is not needed, or exchanged twice"
        at_most(run.traffic.bytes(source=rank), enough, f"bytes that rank {rank} sends", words)


def ordered(coming):
    """The order by expert, and what slips make of it."""
    P, local = coming.shape
    rows = [(e, r) for r in range(P) for e in range(local) for _ in range(coming[r, e])]
    order = np.array(sorted(range(len(rows)), key=lambda i: (rows[i][0], i)), np.int64)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    late = sorted(range(len(rows)), key=lambda i: (rows[i][0], -rows[i][1], i))
    return order, {
        "this is the way back: the place where each row goes, not the row for each place": back,
        "the rows are left in the order of ranks": np.arange(len(order)),
        "rows of later ranks come before those of earlier ones": np.array(late, np.int64),
    }


def test_five_rows_from_two_ranks_by_hand(answer):
    coming = np.array([[1, 2], [2, 0]])  # rows 0 | 1, 2 from rank 0, rows 3, 4 from rank 1
    expect(answer.by_expert(coming), np.array([0, 3, 4, 1, 2]), ordered(coming)[1])


def test_order_of_any_counts(answer, rng):
    for P, local in ((3, 2), (2, 4), (5, 3)):
        coming = rng.integers(1, 4, size=(P, local))
        coming[rng.integers(P), rng.integers(local)] = 0
        order, slips = ordered(coming)
        expect(answer.by_expert(coming), order, slips)


def layered(xs, router, weights, k, capacity, slip=None):
    """[y of each rank], token by token."""
    E, found = router.shape[1], []
    everything = np.concatenate(weights)  # (E, D, D)
    for rank, x in enumerate(xs):
        experts, gates = routed(x @ router, k)
        most = len(x) * k if slip == "no drops" else capacity
        token, choice, counts = queued(experts, E, most)
        expert = np.repeat(np.arange(E), counts)
        rows = x[token]
        if slip == "own experts":
            local = len(weights[rank])
            answers = [row @ weights[rank][e % local] for row, e in zip(rows, expert)]
        else:
            answers = [row @ everything[e] for row, e in zip(rows, expert)]
        y = x.copy() if slip == "residual" else np.zeros_like(x)
        kept = np.zeros(len(x))
        for t, c, row in zip(token, choice, answers):
            gate = (
                1.0 if slip == "no gates" else gates[t, 0] if slip == "first gate" else gates[t, c]
            )
            y[t] = gate * row + (0 if slip == "replaced" else y[t])
            kept[t] += gates[t, c]
        if slip == "renormalised":
            y = y / np.where(kept == 0, 1, kept)[:, None]
        found.append(y)
    return found


SLIPS_OF_LAYER = {
    "the answers are not weighed by the gates": "no gates",
    "every answer is weighed by the gate of the token's first choice": "first gate",
    "a token's answers replace each other; they are to be added": "replaced",
    "nothing is dropped": "no drops",
    "the token itself is added": "residual",
    "the gates of what was not dropped are scaled to sum to 1; they are to stay": "renormalised",
    "rows do not leave the rank: its own experts answer them": "own experts",
}


def check_layer(answer, rng, P, local, k, capacity, tokens):
    D, E = 4, P * local
    xs = [rng.normal(size=(tokens + rank, D)) for rank in range(P)]
    router = rng.normal(size=(D, E))
    weights = [rng.normal(size=(local, D, D)) for _ in range(P)]
    run = answer.moe_layer.on_ranks(P, may_use=EXCHANGES)(
        per_rank(xs), router, per_rank(weights), k, capacity
    )
    given = xs, router, weights, k, capacity
    slips = {words: lambda s=s: layered(*given, s) for words, s in SLIPS_OF_LAYER.items()}
    expect(run, layered(*given), slips)


def test_layer_on_one_rank_without_drops(answer, rng):
    check_layer(answer, rng, P=1, local=3, k=2, capacity=99, tokens=5)


def test_layer_over_ranks_without_drops(answer, rng):
    check_layer(answer, rng, P=3, local=1, k=2, capacity=99, tokens=4)
    check_layer(answer, rng, P=2, local=3, k=3, capacity=99, tokens=6)


def test_layer_over_ranks_with_drops(answer, rng):
    check_layer(answer, rng, P=4, local=2, k=2, capacity=2, tokens=7)
    check_layer(answer, rng, P=2, local=2, k=1, capacity=1, tokens=6)
