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
        ties = -1 if slip == "ties" else 1
        chosen = sorted(range(E), key=lambda e: (sign * scores[t, e], ties * e))[:k]
        if slip == "unstable":
            chosen = np.argsort(-scores, axis=1)[t, :k].tolist()
        if slip == "parted":
            chosen = np.argpartition(-scores, k - 1, axis=1)[t, :k].tolist()
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
    "of equal scores the larger number comes first; the smaller one has to": "ties",
    "argsort is not stable: of equal scores the smaller number has to come first": "unstable",
    "argpartition finds the largest, and does not sort them": "parted",
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
    if slip == "unstable":
        flat = experts.T.reshape(-1)
        places = [(i // T, i % T) for i in np.argsort(flat).tolist()]
    taken, asked, rows = [0] * E, [0] * E, []
    for choice, token in places:
        expert = experts[token, choice]
        asked[expert] += 1
        room = capacity + (slip == "one more")
        if taken[expert] < room or slip in ("all", "in all"):
            taken[expert] += 1
            rows.append((expert, choice, token))
    key = (lambda row: row[0]) if slip in ("by token", "unstable") else None
    rows = rows if slip == "not sorted" else sorted(rows, key=key)
    if slip == "tokens in order":
        rows = sorted(rows, key=lambda row: (row[0], row[2]))
    if slip == "in all":
        rows = rows[: E * capacity]
        asked = [sum(row[0] == e for row in rows) for e in range(E)]
    return (
        np.array([token for _, _, token in rows], np.int64),
        np.array([choice for _, choice, _ in rows], np.int64),
        np.array(asked if slip in ("asked", "in all") else taken, np.int64),
    )


SLIPS_OF_QUEUE = {
    "an expert's rows are in the order of tokens; all first choices go before second ones": (
        "tokens in order"
    ),
    "a token's second choice queues before the first choices of later tokens": "by token",
    "the last of a queue are taken, and the first dropped": "last first",
    "an expert takes one row more than its capacity": "one more",
    "argsort is not stable: rows of one expert do not stay in the order of the queue": "unstable",
    "nothing is dropped": "all",
    "capacity is counted over all experts; each has its own": "in all",
    "the rows are in the order of the choices, not sorted by expert": "not sorted",
    "counts are of all that queued, not of those that found a place": "asked",
}


def slips_of_queue(*given):
    return {words: lambda s=s: queued(*given, s) for words, s in SLIPS_OF_QUEUE.items()}


def balance(scores, experts, slip=None):
    """E · Σ f·p, one expert after the other."""
    T, E = scores.shape
    k, loss = experts.shape[1], 0.0
    for e in range(E):
        chosen = sum(int(experts[t, c] == e) for t in range(T) for c in range(k))
        if slip == "first":
            chosen = k * sum(int(experts[t, 0] == e) for t in range(T))
        f = chosen / (T if slip == "sum k" else T * k)
        over = [experts[t] if slip == "chosen" else range(E) for t in range(T)]
        sums = [sum(math.exp(scores[t, i]) for i in over[t]) for t in range(T)]
        if slip == "tokens":
            sums = [sum(map(math.exp, scores[:, e]))] * T
        p = [math.exp(scores[t, e]) / sums[t] * (e in over[t]) for t in range(T)]
        if slip == "best":
            p = [float(scores[t, e] == max(scores[t])) for t in range(T)]
        if slip == "no softmax":
            p = [scores[t, e] for t in range(T)]
        if slip == "late":
            powers = np.exp(scores.mean(axis=0))
            p = [float(powers[e] / powers.sum())] * T
        loss += f * sum(p) / T
    return loss if slip == "no E" else loss / E if slip == "mean" else E * loss


SLIPS_OF_BALANCE = {
    "the factor E is missing": "no E",
    "the mean over experts is taken, not E times the sum": "mean",
    "only first choices are counted": "first",
    "f is divided by T, not by T·k: its shares must sum to 1": "sum k",
    "p counts who has the largest score; it is a mean of probabilities": "best",
    "p is a mean of scores, not of probabilities": "no softmax",
    "the softmax of p is taken over the chosen experts; it is over all E": "chosen",
    "the softmax of p is taken over the tokens; it is over the experts": "tokens",
    "p is the softmax of the mean scores; it is the mean of the tokens' softmaxes": "late",
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
    for T, E, k in ((5, 4, 2), (1, 7, 3), (6, 3, 3), (4, 5, 1), (0, 3, 2)):
        scores = rng.normal(size=(T, E)) * 2
        expect(answer.route(scores, k), routed(scores, k), slips_of_route(scores, k))
    many_alike = (np.arange(24.0) * 7 % 3)[None]
    expect(answer.route(many_alike, 8), routed(many_alike, 8), slips_of_route(many_alike, 8))


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
    for T, E, k, capacity in (
        (12, 4, 2, 5),
        (9, 6, 3, 3),
        (15, 5, 1, 2),
        (3, 8, 2, 1),
        (40, 3, 2, 30),
    ):
        experts = np.array([rng.permutation(E)[:k] for _ in range(T)])
        experts[: T // 2, 0] = experts[0, 0]
        given = experts, E, capacity
        expect(answer.queue(*given), queued(*given), slips_of_queue(*given))
    nobody = np.zeros((0, 2), np.int64)
    expect(answer.queue(nobody, 3, 4), queued(nobody, 3, 4))


def test_balance_of_two_tokens_by_hand(answer):
    # Probabilities (2, 4, 2)/8 and (1, 3, 4)/8, mean (3, 7, 6)/16; shares (1/2, 1/2, 0).
    given = np.log([[1.0, 2.0, 1.0], [1.0, 3.0, 4.0]]), np.array([[0], [1]])
    expect(answer.balance_loss(*given), 15 / 16, slips_of_balance(*given))


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
    expert = np.array([e for e, _ in rows], np.int64)
    late = sorted(range(len(rows)), key=lambda i: (rows[i][0], -rows[i][1], i))
    return order, {
        "this is the way back: the place where each row goes, not the row for each place": back,
        "the rows are left in the order of ranks": np.arange(len(order)),
        "rows of later ranks come before those of earlier ones": np.array(late, np.int64),
        "argsort is not stable: rows of one expert do not stay in the order in which they came": (
            np.argsort(expert)
        ),
    }


def test_five_rows_from_two_ranks_by_hand(answer):
    coming = np.array([[1, 2], [2, 0]])  # rows 0 | 1, 2 from rank 0, rows 3, 4 from rank 1
    expect(answer.by_expert(coming), np.array([0, 3, 4, 1, 2]), ordered(coming)[1])


def test_order_of_any_counts(answer, rng):
    for P, local in ((3, 2), (2, 4), (5, 3), (8, 2)):
        coming = rng.integers(1, 4, size=(P, local))
        coming[rng.integers(P), rng.integers(local)] = 0
        order, slips = ordered(coming)
        expect(answer.by_expert(coming), order, slips)
    nothing = np.zeros((2, 3), np.int64)
    expect(answer.by_expert(nothing), ordered(nothing)[0])


def layered(xs, router, weights, k, capacity, slip=None):
    """[y of each rank], token by token."""
    E, found = router.shape[1], []
    everything = np.concatenate(weights)  # (E, D, D)
    room = np.full(E, capacity)  # of all ranks, if they shared it
    for rank, x in enumerate(xs):
        experts, gates = routed(x @ router, k)
        most = {"no drops": len(x) * k, "shared": len(x) * k, "P times": capacity * len(xs)}
        token, choice, counts = queued(experts, E, most.get(slip, capacity))
        expert = np.repeat(np.arange(E), counts)
        y = x.copy() if slip == "residual" else np.zeros_like(x)
        kept = np.zeros(len(x))
        for t, c, e in zip(token, choice, expert):
            if slip == "shared" and room[e] == 0:
                continue
            room[e] -= 1
            local = len(weights[rank])
            W = weights[rank][e % local] if slip == "own experts" else everything[e]
            gate = {"no gates": 1.0, "first gate": gates[t, 0]}.get(slip, gates[t, c])
            row = x[t] * gate if slip == "before" else x[t]
            row = row @ (W.T if slip == "W.T" else W)
            row = row if slip == "linear" else np.maximum(row, 0)
            row = row if slip in ("linear", "no square") else row**2
            y[t] = (1.0 if slip == "before" else gate) * row + (0 if slip == "replaced" else y[t])
            kept[t] += gates[t, c]
        if slip == "renormalised":
            y = y / np.where(kept == 0, 1, kept)[:, None]
        if slip == "passed on":
            y[kept == 0] = x[kept == 0]
        found.append(y)
    return found


def misplaced(xs, router, weights, k, capacity, slip):
    """[y of each rank], if answers go back in another order than that in which rows came."""
    P, E = len(xs), router.shape[1]
    routes = [routed(x @ router, k) for x in xs]
    queues = [queued(experts, E, capacity) for experts, _ in routes]
    counts = [queue[2] for queue in queues]
    there = sent([x[queue[0]] for x, queue in zip(xs, queues)], counts)[0]
    back = [[] for _ in xs]
    for rank, (arrived, coming) in enumerate(there):
        order = ordered(coming)[0]
        expert = np.repeat(np.tile(np.arange(E // P), P), coming.reshape(-1))
        answers = [np.maximum(row @ weights[rank][e], 0) ** 2 for row, e in zip(arrived, expert)]
        answers = np.array(answers).reshape(arrived.shape)[order]
        answers = answers[order] if slip == "turned" else answers
        ends = np.cumsum(coming.sum(axis=1))
        for source, part in enumerate(np.split(answers, ends[:-1])):
            back[source].append(part)
    found = [np.zeros_like(x) for x in xs]
    for y, (_, gates), (token, choice, _), parts in zip(found, routes, queues, back):
        np.add.at(y, token, gates[token, choice][:, None] * np.concatenate(parts))
    return found


SLIPS_OF_LAYER = {
    "the answers are not weighed by the gates": "no gates",
    "every answer is weighed by the gate of the token's first choice": "first gate",
    "a token's answers replace each other; they are to be added": "replaced",
    "rows are weighed by their gates before the expert; its answers are to be weighed": "before",
    "an expert answers row @ W; the maximum with 0 and the square are missing": "linear",
    "an expert's answers are not squared": "no square",
    "an expert is row @ W, not row @ W.T": "W.T",
    "dropped tokens are passed on as they are; a dropped choice adds nothing": "passed on",
    "an expert's capacity is counted over all ranks; it is for the rows of each rank": "shared",
    "capacity is for each rank and expert; it is taken P times": "P times",
    "nothing is dropped": "no drops",
    "the token itself is added": "residual",
    "the gates of what was not dropped are scaled to sum to 1; they are to stay": "renormalised",
    "rows do not leave the rank: its own experts answer them": "own experts",
}


def slips_of_layer(*given):
    slips = {words: lambda s=s: layered(*given, s) for words, s in SLIPS_OF_LAYER.items()}
    return slips | {
        "answers are sent back sorted by expert, not in the order in which rows arrived": (
            lambda: misplaced(*given, "sorted")
        ),
        "answers are put back by out[order]; answers[order] = out is the way back": (
            lambda: misplaced(*given, "turned")
        ),
    }


def check_layer(answer, *given, want=None):
    xs, router, weights, k, capacity = given
    run = answer.moe_layer.on_ranks(len(xs), may_use=EXCHANGES)(
        per_rank(xs), router, per_rank(weights), k, capacity
    )
    expect(run, want or layered(*given), slips_of_layer(*given))
    check_bytes(run, *given)


def check_bytes(run, xs, router, weights, k, capacity):
    (D, E), P = router.shape, len(xs)
    counts = [queued(routed(x @ router, k)[0], E, capacity)[2] for x in xs]
    rows = np.array([each.reshape(P, -1).sum(axis=1) for each in counts])  # (from, to)
    for rank in range(P):
        away = rows[rank].sum() + rows[:, rank].sum() - 2 * rows[rank, rank]
        enough = int(8 * E * (P - 1) // P + 8 * D * away)  # counts; rows there, answers back
        words = "more is sent than the counts, once, and each row there and back"
        at_most(run.traffic.bytes(source=rank), enough, f"bytes that rank {rank} sends", words)


def drawn(rng, P, local, tokens, D=4, wanted=None):
    """(xs, router, weights), where all tokens want the experts ``wanted`` most."""
    xs = [rng.normal(size=(n, D)) for n in tokens]
    router = rng.normal(size=(D, P * local))
    if wanted is not None:
        xs = [np.abs(x) for x in xs]
        router[:, wanted] += 9
    return xs, router, [rng.normal(size=(local, D, D)) for _ in range(P)]


def test_layer_of_four_experts_on_two_ranks_by_hand(answer):
    # Expert e multiplies by e + 1 and squares. Rank 0's tokens want the experts 1, 3 and 0, those
    # of rank 1 the experts 2, 0, 1 and 0; k is 1, so that all gates are 1.
    xs = [np.array([[1.0, 2], [1, 0], [0, 1]]), np.array([[2.0, 1], [0, 2], [3, 6], [0, 3]])]
    router = np.array([[0.0, 3, 4, 5], [5, 4, 3, 0]])
    weights = [
        np.array([1, 2])[:, None, None] * np.eye(2),
        np.array([3, 4])[:, None, None] * np.eye(2),
    ]
    want = [
        np.array([[4.0, 16], [16, 0], [0, 1]]),
        np.array([[36.0, 9], [0, 4], [36, 144], [0, 9]]),
    ]
    check_layer(answer, xs, router, weights, 1, 9, want=want)


def test_layer_over_ranks_without_drops(answer, rng):
    check_layer(answer, *drawn(rng, 1, 3, [5]), 2, 99)
    check_layer(answer, *drawn(rng, 3, 1, [4, 5, 6]), 2, 99)
    check_layer(answer, *drawn(rng, 2, 3, [6, 7]), 3, 99)
    check_layer(answer, *drawn(rng, 2, 2, [2, 3], D=12), 2, 99)  # weights are much more than rows
    check_layer(answer, *drawn(rng, 3, 2, [3, 0, 4], wanted=[0, 1, 2]), 2, 99)  # idle rank 2


def test_layer_over_ranks_with_drops(answer, rng):
    check_layer(answer, *drawn(rng, 2, 2, [7, 8], wanted=[1]), 2, 2)
    check_layer(answer, *drawn(rng, 4, 2, [7, 8, 9, 10]), 2, 2)
    check_layer(answer, *drawn(rng, 2, 2, [6, 7]), 1, 1)
