"""Tests of exercise 22: collectives, made of messages."""

import math

import numpy as np

from minigrad.course.testing import at_most, but, expect, explained, per_rank
from minigrad.distributed import FullyConnected

MESSAGES = ("send", "recv", "send_recv", "isend", "irecv")
#: a message takes 1 s, and each number (of 8 bytes) another
CLOCK = FullyConnected(alpha=1.0, bandwidth=8.0)
SIZES = (1, 2, 3, 5, 8)


def on(function, size):
    """A function of the answer on so many ranks, with messages alone."""
    return function.on_ranks(size, may_use=MESSAGES, topology=CLOCK)


def only_to_the_right(run):
    """Check that no rank has sent to another than its right neighbour."""
    for rank in range(len(run)):
        right = (rank + 1) % len(run)
        for other in range(len(run)):
            if other != right and run.traffic.bytes(source=rank, destination=other):
                but(f"rank {rank} sends to rank {other}; its right neighbour is rank {right}.")


def sparing(run, numbers, seconds, too_many, waiting):
    """Check what the ranks of a right run have sent, and how long they took.

    ``too_many``: {numbers sent: words}, or words for any; ``waiting``: {seconds: words}, or words.
    """
    for got, most, unit, what, known in (
        (max(run.traffic.sent()), 8 * numbers, 8, "bytes that a rank sends", too_many),
        (run.seconds, float(seconds), 1, "simulated seconds", waiting),
    ):
        words = known.get(got / unit, known.get("else")) if type(known) is dict else known
        at_most(got, most, what, words)


ONE_MORE = "there is one step too many: P − 1 are enough"
WHOLE_ROWS = "whole arrays go round, and not one row a step"
NEW = "recv returns a new array, and does not fill `like`"
WAITING = (
    "ranks wait for each other before they send: in every step all of them should send and "
    "receive at once, as send_recv does"
)


def reduce_scatter_by_hand(x):
    """{words: what a wrong ring leaves on each rank}; x (P, P, n): rank, row, number."""
    P, total = len(x), x.sum(axis=0)
    return {
        "what comes in takes the place of the rank's own row, and is not added to it": [
            x[(r + 1) % P, r] for r in range(P)
        ],
        "rank r returns the sum of row r + 1: let row r − 1 go first, not row r": [
            total[(r + 1) % P] for r in range(P)
        ],
        "a rank sends its own rows only, and not the sums that have come to it": [
            x[r, r] + x[r - 1, r] for r in range(P)
        ],
        f"the rank's own row is returned, with nothing added to it; {NEW}": [
            x[r, r] for r in range(P)
        ],
        "the whole sum is returned, not the rank's row of it": [total] * P,
    }


def test_two_ranks_add_up_a_row_each(answer):
    x = np.array([[[1.0, 2.0], [3.0, 4.0]], [[10.0, 20.0], [30.0, 40.0]]])
    run = on(answer.ring_reduce_scatter, 2)(per_rank(x))
    want = [np.array([11.0, 22.0]), np.array([33.0, 44.0])]
    expect(run, want, reduce_scatter_by_hand(x))


def test_reduce_scatter_of_any_number_of_ranks(answer, rng):
    for P in SIZES:
        x = rng.normal(size=(P, P, 3))
        run = on(answer.ring_reduce_scatter, P)(per_rank(x))
        mistakes = {ONE_MORE + ", and one rank alone has none": list(2 * x[0])} if P == 1 else {}
        expect(run, list(x.sum(axis=0)), reduce_scatter_by_hand(x) if P > 2 else mistakes)


def test_reduce_scatter_sends_a_row_a_step_to_the_right(answer, rng):
    x = rng.normal(size=(4, 4, 5))
    run = on(answer.ring_reduce_scatter, 4)(per_rank(x))
    expect(run, list(x.sum(axis=0)), reduce_scatter_by_hand(x))
    only_to_the_right(run)
    sparing(run, 3 * 5, 3 * (1 + 5), {4 * 5: ONE_MORE, 3 * 20: WHOLE_ROWS}, WAITING)


def all_gather_by_hand(rows):
    """{words: what a wrong ring leaves on each rank}; rows (P, n)."""
    P = len(rows)
    left_only = [np.stack([rows[r if i == r else r - 1] for i in range(P)]) for r in range(P)]
    return {
        "the rows stand in the order in which they came, not in that of the ranks": [
            np.stack([rows[(r - step) % P] for step in range(P)]) for r in range(P)
        ],
        "a rank sends its own row in every step, and not what has come to it": left_only,
        "the rows are counted to the right: what comes in the first step is row r − 1": [
            np.stack([rows[(2 * r - i) % P] for i in range(P)]) for r in range(P)
        ],
        "the rows stand in one long line: (P·n,) and not (P, n)": [rows.reshape(-1)] * P,
        f"only the rank's own row is there; {NEW}": [
            np.where((np.arange(P) == r)[:, None], rows, 0.0) for r in range(P)
        ],
    }


def test_three_ranks_gather_their_rows(answer):
    rows = np.array([[1.0, 2.0], [10.0, 20.0], [100.0, 200.0]])
    run = on(answer.ring_all_gather, 3)(per_rank(rows))
    expect(run, [rows] * 3, all_gather_by_hand(rows))


def test_all_gather_of_any_number_of_ranks(answer, rng):
    for P in SIZES:
        rows = rng.normal(size=(P, 4))
        run = on(answer.ring_all_gather, P)(per_rank(rows))
        expect(run, [rows] * P, all_gather_by_hand(rows))


def test_all_gather_sends_a_row_a_step_to_the_right(answer, rng):
    rows = rng.normal(size=(5, 3))
    run = on(answer.ring_all_gather, 5)(per_rank(rows))
    expect(run, [rows] * 5, all_gather_by_hand(rows))
    only_to_the_right(run)
    sparing(run, 4 * 3, 4 * (1 + 3), {5 * 3: ONE_MORE, 4 * 15: WHOLE_ROWS}, WAITING)


def all_reduce_by_hand(x):
    """{words: what a wrong one leaves on each rank}; x (P, n)."""
    P, n = x.shape
    total, whole = x.sum(axis=0), n // P * P
    tail = np.arange(n) < whole
    longer = np.append(total, np.zeros(-n % P))
    mistakes = {
        "only the rank's share of the sum is returned": lambda: [
            longer.reshape(P, -1)[r] for r in range(P)
        ],
        "it is the mean, not the sum": [total / P] * P,
    }
    if n % P:
        mistakes |= {
            "the zeros that were added are still at the end": [longer] * P,
            "the last numbers, which P does not divide, are not added up": [
                np.where(tail, total, x[r]) for r in range(P)
            ],
        }
    return mistakes


UNEVEN = "where P does not divide n, there have to be zeros at the end before rows can be made of x"


def test_three_ranks_add_up_three_numbers(answer):
    x = np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0], [100.0, 200.0, 300.0]])
    run = on(answer.all_reduce, 3)(per_rank(x))
    expect(run, [np.array([111.0, 222.0, 333.0])] * 3, all_reduce_by_hand(x))


def test_all_reduce_where_the_ranks_do_not_divide_the_numbers(answer, rng):
    for P, n in ((1, 3), (2, 5), (3, 7), (4, 6), (5, 2), (8, 9)):
        x = rng.normal(size=(P, n))
        with explained(ValueError=UNEVEN if n % P else None):
            run = on(answer.all_reduce, P)(per_rank(x))
        expect(run, [x.sum(axis=0)] * P, all_reduce_by_hand(x) if P > 1 else {})


def test_all_reduce_sends_less_than_twice_the_array(answer, rng):
    for P, n, padded in ((4, 16, 16), (8, 19, 24)):
        x = rng.normal(size=(P, n))
        run = on(answer.all_reduce, P)(per_rank(x))
        expect(run, [x.sum(axis=0)] * P, all_reduce_by_hand(x))
        steps, share = 2 * (P - 1), padded // P
        too_many = {
            steps * (share + 1): "zeros are added although P divides n",
            "else": "whole arrays are sent, and not shares of 1/P",
        }
        sparing(run, steps * share, steps * (1 + share), too_many, WAITING)


def broadcast_by_hand(x, root):
    """{words: what a wrong tree leaves on each rank}; x (P, n)."""
    P = len(x)
    core = 1 << (P.bit_length() - 1)
    deaf = [x[root] if (r - root) % P < core else x[r] for r in range(P)]
    return {
        "the tree begins at rank 0, whoever the root is": [x[0]] * P,
        "where P is no power of two, the last ranks hear nothing": deaf,
        f"what comes is not used; {NEW}": list(x),
    }


def test_a_root_tells_three_others(answer):
    x = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]])
    run = on(answer.tree_broadcast, 4)(per_rank(x), 2)
    expect(run, [x[2]] * 4, broadcast_by_hand(x, 2))


def test_broadcast_from_any_root_to_any_number_of_ranks(answer, rng):
    for P, root in ((1, 0), (2, 1), (3, 0), (5, 3), (6, 5), (8, 4), (11, 7)):
        x = rng.normal(size=(P, 3))
        run = on(answer.tree_broadcast, P)(per_rank(x), root)
        expect(run, [x[root]] * P, broadcast_by_hand(x, root))


def test_broadcast_takes_as_many_steps_as_doublings(answer, rng):
    for P, root in ((8, 3), (13, 0)):
        x = rng.normal(size=(P, 6))
        run = on(answer.tree_broadcast, P)(per_rank(x), root)
        expect(run, [x[root]] * P, broadcast_by_hand(x, root))
        at_most(run.traffic.messages(), P - 1, "messages", "somebody is told twice")
        at_most(
            run.seconds,
            float(math.ceil(math.log2(P)) * (1 + 6)),
            "simulated seconds",
            "the root tells too many itself, or those who know wait: in every step, all who have "
            "it send",
        )


def all_to_all_by_hand(x):
    """{words: what a wrong one leaves on each rank}; x (P, P, n): rank, row, number."""
    P = len(x)
    right = [x[:, r] for r in range(P)]
    own = [np.arange(P)[:, None] == r for r in range(P)]
    met = [np.isin(np.arange(P), [r ^ k for k in range(P)])[:, None] for r in range(P)]
    pairs = "where P is no power of two, r ^ k leaves pairs out"
    return {
        "row d of the result is what the rank had for rank d, not what came from there": list(x),
        "what comes in stands at the rank that was sent to, not at the one that it came from": [
            np.stack([x[(2 * r - i) % P, r] for i in range(P)]) for r in range(P)
        ],
        "the row that a rank has for itself is missing": [
            np.where(own[r], 0.0, right[r]) for r in range(P)
        ],
        f"only the rank's own row is there; {NEW}": [
            np.where(own[r], right[r], 0.0) for r in range(P)
        ],
        pairs: [np.where(met[r], right[r], x[r]) for r in range(P)],
        f"{pairs}, and what they have is missing": [
            np.where(met[r], right[r], 0.0) for r in range(P)
        ],
    }


def test_three_ranks_exchange_rows(answer):
    x = 100.0 * np.arange(1, 4)[:, None, None] + np.array([[1.0, 1.5], [2.0, 2.5], [3.0, 3.5]])
    run = on(answer.all_to_all, 3)(per_rank(x))
    want = [np.array([[s + d, s + d + 0.5] for s in (100.0, 200.0, 300.0)]) for d in (1, 2, 3)]
    expect(run, want, all_to_all_by_hand(x))


def test_all_to_all_of_any_number_of_ranks(answer, rng):
    for P in SIZES:
        x = rng.normal(size=(P, P, 2))
        run = on(answer.all_to_all, P)(per_rank(x))
        expect(run, [x[:, r] for r in range(P)], all_to_all_by_hand(x) if P > 1 else {})


def test_all_to_all_sends_each_row_straight_and_all_at_once(answer, rng):
    x = rng.normal(size=(6, 6, 4))
    run = on(answer.all_to_all, 6)(per_rank(x))
    expect(run, [x[:, r] for r in range(6)], all_to_all_by_hand(x))
    waiting = {
        6.0 * (1 + 4): "there are P steps, in each of which some rank has nothing to do; P − 1 are "
        "enough, if rank r sends to r + k while it receives from r − k",
        "else": "in some step several ranks send to the same one: let rank r send to r + k while "
        "it receives from r − k",
    }
    sparing(run, 5 * 4, 5 * (1 + 4), "rows go round by other ranks", waiting)


def stepwise(P, nbytes, alpha, beta):
    """Seconds of the three algorithms, step by step."""
    message = lambda n: alpha + n * beta
    halves = []
    while P >> len(halves) > 1:
        halves.append(nbytes / 2 ** (len(halves) + 1))
    return {
        "ring": math.fsum(message(nbytes / P) for _ in range(2 * (P - 1))),
        "recursive doubling": math.fsum(message(nbytes) for _ in halves),
        "halving and doubling": 2 * math.fsum(map(message, halves)),
    }


def wrong_seconds(P, nbytes, alpha, beta):
    right, log = stepwise(P, nbytes, alpha, beta), round(math.log2(P))
    whole, share = alpha + nbytes * beta, 2 * (P - 1) / P * nbytes * beta
    return {
        "β is the seconds of a byte, not the bytes of a second": stepwise(
            P, nbytes, alpha, 1 / beta
        ),
        "math.log is the natural logarithm; the steps are math.log2(P)": right
        | {
            "recursive doubling": math.log(P) * whole,
            "halving and doubling": 2 * math.log(P) * alpha + share,
        },
        "recursive doubling has log₂P steps in all, not as many there and back": right
        | {"recursive doubling": 2 * log * whole},
        "halving and doubling sends a half, a quarter, …, not a half in every step": right
        | {"halving and doubling": 2 * log * (alpha + nbytes / 2 * beta)},
        "the ring goes round twice, there and back: 2(P − 1) steps": right
        | {"ring": right["ring"] / 2},
        "a step of the ring has 1/P of the bytes, not all of them": right
        | {"ring": 2 * (P - 1) * (alpha + nbytes * beta)},
        "recursive doubling sends all bytes in every step, not once": right
        | {"recursive doubling": log * alpha + nbytes * beta},
        "halving and doubling sends a half, a quarter, …, not 1/P in every step": right
        | {"halving and doubling": 2 * log * (alpha + nbytes / P * beta)},
        "halving and doubling goes there and back: 2·log₂P steps": right
        | {"halving and doubling": right["halving and doubling"] / 2},
    }


def test_seconds_of_four_ranks_by_hand(answer):
    want = {"ring": 81.0, "recursive doubling": 102.0, "halving and doubling": 79.0}
    expect(answer.all_reduce_seconds(4, 100.0, 1.0, 0.5), want, wrong_seconds(4, 100.0, 1.0, 0.5))


def test_seconds_of_any_power_of_two(answer, rng):
    for P in (1, 2, 8, 64, 1024):
        case = P, float(rng.uniform(1e3, 1e7)), float(rng.uniform(1e-6, 1e-4)), 1 / 3e11
        mistakes = wrong_seconds(*case) if P > 2 else {}
        expect(answer.all_reduce_seconds(*case), stepwise(*case), mistakes)


def limits(P, alpha, beta):
    """{words: a wrong limit}."""
    log, share = round(math.log2(P)), 2 * (P - 1) / P
    return {
        "that is where the ring is as good: halving and doubling is better than the ring": (
            2 * (P - 1) - log
        )
        * alpha
        / (log - share)
        / beta,
        "doubling's own steps are not taken off: it takes log₂P latencies itself": 2
        * log
        * alpha
        / (log - share)
        / beta,
        "the other algorithm sends bytes, too: 2(P − 1)/P of them": alpha / beta,
        "α and β have changed places": log * beta / (log - share) / alpha,
    }


def test_the_limit_of_four_ranks_by_hand(answer):
    expect(answer.most_for_doubling(4, 1.0, 0.5), 8.0, limits(4, 1.0, 0.5))


def test_at_the_limit_two_algorithms_take_equally_long(answer, rng):
    for P in (4, 8, 32, 512):
        alpha, beta = float(rng.uniform(1e-6, 1e-4)), float(rng.uniform(1e-12, 1e-9))
        low, high = 0.0, 1e12
        for _ in range(200):  # the difference changes its sign once
            middle = (low + high) / 2
            times = stepwise(P, middle, alpha, beta)
            others = min(times["ring"], times["halving and doubling"])
            low, high = (middle, high) if times["recursive doubling"] < others else (low, middle)
        got = answer.most_for_doubling(P, alpha, beta)
        expect(got, low, limits(P, alpha, beta), tolerance=1e-9)
