"""Tests of exercise 25: pipeline parallelism, from the bubble's formula to a running schedule."""

import itertools

import numpy as np

from minigrad.course.testing import at_most, but, expect, explained, per_rank
from minigrad.distributed import FullyConnected

MESSAGES = ("send", "recv", "isend", "irecv", "compute")
FREE = FullyConnected(alpha=0.0, bandwidth=float("inf"))


def bubbles(S, M, v):
    """{words: a wrong share}."""
    return {
        "that is idle time over busy time; all time is both together": (S - 1) / (v * M),
        "a row has S − 1 boxes of nothing, not S": S / (v * M + S),
        "the chunks make boxes smaller, so that there are v·M of them": (S - 1) / (M + S - 1),
        "chunks make the bubble smaller, not larger": v * (S - 1) / (M + v * (S - 1)),
        "that is the share in which the stages work": v * M / (v * M + S - 1),
        "v divides the empty time, but all time shrinks too": (S - 1) / (M + S - 1) / v,
    }


def test_the_bubble_of_four_stages_by_hand(answer):
    # Each row has 9 boxes of work and 3 of nothing.
    expect(answer.bubble(4, 9, 1), 0.25, bubbles(4, 9, 1))
    expect(answer.bubble(2, 3, 1), 0.25, bubbles(2, 3, 1))


def test_chunks_make_the_bubble_smaller(answer, rng):
    expect(answer.bubble(4, 8, 3), 1 / 9, bubbles(4, 8, 3))
    S, M, v = (int(n) for n in rng.integers(2, 40, 3))
    want = 1 - v * M / (v * M + S - 1)
    expect(answer.bubble(S, M, v), want, bubbles(S, M, v))


def actions(text):
    """A list of actions, from "F0 F1 B0 B1"."""
    return [(word[0], int(word[1:])) for word in text.split()]


def counted(kind, numbers):
    return [(kind, m) for m in numbers]


def told(schedule):
    """A schedule in the words of the notebook, {stage: "F0 F1 B0 B1"}; None if it is none."""
    pairs = type(schedule) is list and all(
        type(stage) is list
        and all(type(a) is tuple and [type(part) for part in a] == [str, int] for a in stage)
        for stage in schedule
    )
    lines = [" ".join(f"{kind}{m}" for kind, m in stage) for stage in schedule] if pairs else []
    return {f"stage {i}": line for i, line in enumerate(lines)} if pairs else None


def expect_schedule(got, want, mistakes):
    """Compare schedules, and show stages that differ as lines."""
    if told(got) is None or len(got) != len(want):
        expect(got, want, mistakes)
    mistakes = {words: told(wrong) for words, wrong in mistakes.items()}
    expect(told(got), told(want), {words: lines for words, lines in mistakes.items() if lines})


def gpipes(S, M):
    """{words: a wrong schedule}."""
    up, down = range(M), range(M - 1, -1, -1)
    return {
        "each micro-batch goes backward before the next goes forward": [
            [each for m in up for each in (("F", m), ("B", m))] for _ in range(S)
        ],
        "backward, too, micro-batches come in order: 0 first": [
            counted("F", up) + counted("B", down) for _ in range(S)
        ],
        "there is one list for each stage": [counted("F", up) + counted("B", up)],
        "that is one list for each micro-batch": [
            counted("F", range(S)) + counted("B", range(S)) for _ in up
        ],
    }


def test_gpipe_of_two_stages_by_hand(answer):
    want = [actions("F0 F1 F2 B0 B1 B2")] * 2
    expect_schedule(answer.gpipe(2, 3), want, gpipes(2, 3))


def test_gpipe_of_any_size(answer, rng):
    for S, M in ((1, 1), (1, 4), (5, 1), tuple(int(n) for n in rng.integers(2, 9, 2))):
        one = counted("F", range(M)) + counted("B", range(M))
        expect_schedule(answer.gpipe(S, M), [one for _ in range(S)], gpipes(S, M))


def one_by_one(S, M, ahead=lambda S, i: S - i - 1):
    """1F1B, each stage action by action: forward while few are held, else backward."""
    schedule = []
    for i in range(S):
        f = b = 0
        found = []
        while b < M:
            if f < M and f - b <= ahead(S, i):
                found.append(("F", f))
                f += 1
            else:
                found.append(("B", b))
                b += 1
        schedule.append(found)
    return schedule


def in_pairs(S, M, pair, left=lambda M, ahead: range(M - ahead, M), most=True):
    """1F1B, stage by stage: forward passes ahead, pairs, and what is ``left``.

    ``pair(m, ahead)`` gives the two actions of pair m; ``most``: no more than M go ahead.
    """
    schedule = []
    for i in range(S):
        ahead = min(S - i - 1, M) if most else S - i - 1
        pairs = [each for m in range(M - ahead) for each in pair(m, ahead)]
        schedule.append(counted("F", range(ahead)) + pairs + counted("B", left(M, ahead)))
    return schedule


def turns(S, M):
    """{words: a wrong schedule}."""
    newest = lambda m, ahead: (("F", m + ahead), ("B", m + ahead))
    oldest = lambda m, ahead: (("F", m + ahead), ("B", m))
    return {
        "after the forward passes ahead, each pair is a forward pass first, then a backward pass": (
            in_pairs(S, M, lambda m, ahead: oldest(m, ahead)[::-1])
        ),
        "the backward pass of a pair is that of the oldest micro-batch, not of the newest": (
            in_pairs(S, M, newest)
        ),
        "the backward pass of a pair is that of the oldest micro-batch, not the newest": in_pairs(
            S, M, newest, left=lambda M, ahead: range(ahead)
        ),
        "there are only M micro-batches to go ahead with, and no micro-batch −1": in_pairs(
            S, M, oldest, most=False
        ),
        "stage 0 is first, and goes furthest ahead; the last stage goes 0 ahead": one_by_one(S, M)[
            ::-1
        ],
        "stage i goes S − i − 1 forward passes ahead, and one more before the first backward; "
        "here it is one too many": one_by_one(S, M, lambda S, i: S - i),
        "here a stage does one forward pass too few before its first backward": one_by_one(
            S, M, lambda S, i: max(S - i - 2, 0)
        ),
        "every stage goes S − 1 ahead; stage i needs i fewer": one_by_one(S, M, lambda S, i: S - 1),
        "no stage goes ahead, so that stage 0 waits for each micro-batch to come home": one_by_one(
            S, M, lambda S, i: 0
        ),
        "that is GPipe": [counted("F", range(M)) + counted("B", range(M)) for _ in range(S)],
        "the backward passes at the end are missing": [
            stage[: 2 * M - min(S - i - 1, M)] for i, stage in enumerate(one_by_one(S, M))
        ],
    }


def test_one_f_one_b_of_three_stages_by_hand(answer):
    want = [
        actions("F0 F1 F2 B0 F3 B1 B2 B3"),
        actions("F0 F1 B0 F2 B1 F3 B2 B3"),
        actions("F0 B0 F1 B1 F2 B2 F3 B3"),
    ]
    expect_schedule(answer.one_f_one_b(3, 4), want, turns(3, 4))


def test_one_f_one_b_of_any_size(answer, rng):
    for S, M in ((1, 3), (4, 4), (2, 7), tuple(int(n) for n in rng.integers((3, 7), (7, 12)))):
        expect_schedule(answer.one_f_one_b(S, M), one_by_one(S, M), turns(S, M))


def test_one_f_one_b_of_fewer_micro_batches_than_stages(answer):
    for S, M in ((4, 2), (6, 3), (3, 1)):
        most = [counted("F", range(min(S - i - 1, M))) for i in range(S)]
        longer = [
            counted("F", range(S - i - 1)) + stage[len(most[i]) :]
            for i, stage in enumerate(one_by_one(S, M))
        ]
        mistakes = {"there are only M micro-batches to go ahead with": longer, **turns(S, M)}
        expect_schedule(answer.one_f_one_b(S, M), one_by_one(S, M), mistakes)


def holdings(found):
    """{words: a wrong number}."""
    lists = [set()]
    for kind, m in found:
        lists.append(lists[-1] | {m} if kind == "F" else lists[-1] - {m})
    counts = [len(each) for each in lists]
    run = longest = 0
    for kind, _ in found:
        run = run + 1 if kind == "F" else 0
        longest = max(longest, run)
    before = [kind for kind, _ in found].index("B")
    return max(counts), {
        "that is how many there are, not how many are kept at once": len(found) // 2,
        "that is how many are kept at the end": counts[-1],
        "only the forward passes before the first backward pass are counted": before,
        "that is the longest row of forward passes; what was kept before is kept still": longest,
        "the micro-batch that goes backward is kept until that is done": max(
            count for count, (kind, _) in zip(counts[1:], found) if kind == "B"
        ),
    }


def test_a_stage_holds_two_by_hand(answer):
    found = actions("F0 F1 B0 F2 B1 B2")
    expect(answer.most_held(found), *holdings(found))
    found = actions("F0 F1 B1 F2 F3 F4 B4 B0 B2 B3")
    expect(answer.most_held(found), *holdings(found))


def test_what_schedules_hold(answer, rng):
    S, M = (int(n) for n in rng.integers((3, 7), (6, 12)))
    for i, found in enumerate(one_by_one(S, M)):
        expect(answer.most_held(found), min(S - i, M), holdings(found)[1])
    many = counted("F", range(M)) + counted("B", range(M))
    expect(answer.most_held(many), M, holdings(many)[1])


def test_what_any_list_holds(answer, rng):
    for _ in range(4):
        waiting, held, found = list(rng.permutation(9)), [], []
        while waiting or held:
            if waiting and (not held or rng.random() < 0.55):
                held.append(int(waiting.pop()))
                found.append(("F", held[-1]))
            else:
                found.append(("B", held.pop(int(rng.integers(len(held))))))
        expect(answer.most_held(found), *holdings(found))


def clock(schedule, forward, backward, waits=True, slip=None, rounds=None):
    """Times by trying again and again: each action ends after all that it needs."""
    times = {(i, *each): 0.0 for i, stage in enumerate(schedule) for each in stage}
    for _ in range(rounds or len(times)):
        for i, stage in enumerate(schedule):
            for k, (kind, m) in enumerate(stage):
                needed = [0.0]
                if k > 0 and slip != "stage":
                    needed.append(times[i, *stage[k - 1]])
                other = i - 1 if kind == "F" or slip == "before" else i + 1
                if waits and (other, kind, m) in times:
                    needed.append(times[other, kind, m])
                seconds = (forward if kind == "F" else backward)[0 if slip == "first" else i]
                times[i, kind, m] = (sum if slip == "sum" else max)(needed) + seconds
    return [[times[i, *each] for each in stage] for i, stage in enumerate(schedule)]


def clocks(schedule, forward, backward):
    """{words: wrong times}."""
    right = clock(schedule, forward, backward)
    begins = [
        [end - (forward if kind == "F" else backward)[i] for end, (kind, _) in zip(ends, stage)]
        for i, (ends, stage) in enumerate(zip(right, schedule))
    ]
    return {
        "that is when each action begins, not when it is done": begins,
        "no stage waits for another": clock(schedule, forward, backward, waits=False),
        "a stage does one thing at a time: it has to be done with the action before": clock(
            schedule, forward, backward, slip="stage"
        ),
        "each stage has seconds of its own": clock(schedule, forward, backward, slip="first"),
        "forward and backward have changed places": clock(schedule, backward, forward),
        "B needs the gradient of the stage after, not of the one before": clock(
            schedule, forward, backward, slip="before"
        ),
        "an action begins at the later of two times, not at their sum": clock(
            schedule, forward, backward, slip="sum"
        ),
        AFTER: clock(schedule, forward, backward, rounds=1),
        **{
            f"{n} rounds over all stages are too few: go on until no time changes": clock(
                schedule, forward, backward, rounds=n
            )
            for n in (2, 3, 4)
        },
    }


AFTER = "B needs the stage AFTER, which a loop over the stages has not reached when it needs it"


def expect_times(answer, schedule, durations, want):
    """Compare what finish_times says; an action that is not there yet is a likely mistake."""
    with explained(KeyError=AFTER):
        got = answer.finish_times(schedule, *durations)
    expect(got, want, clocks(schedule, *durations))


def test_times_of_two_stages_by_hand(answer):
    schedule = [actions("F0 F1 B0 B1"), actions("F0 B0 F1 B1")]
    want = [[1.0, 2.0, 6.0, 9.0], [2.0, 4.0, 5.0, 7.0]]
    expect_times(answer, schedule, ([1.0, 1.0], [2.0, 2.0]), want)


def test_times_of_equal_stages(answer, rng):
    S, M = (int(n) for n in rng.integers((2, 5), (6, 9)))
    t = float(rng.uniform(0.5, 2.0))
    for schedule in (one_by_one(S, M), [counted("F", range(M)) + counted("B", range(M))] * S):
        durations = [t] * S, [2 * t] * S
        expect_times(answer, schedule, durations, clock(schedule, *durations))


def test_times_of_stages_that_are_not_equal(answer, rng):
    S, M = (int(n) for n in rng.integers((3, 4), (6, 8)))
    durations = rng.uniform(0.5, 2.0, S).tolist(), rng.uniform(1.0, 3.0, S).tolist()
    schedule = one_by_one(S, M)
    expect_times(answer, schedule, durations, clock(schedule, *durations))


def model(rng, S, B, D):
    """w (S, D, D), batch and targets (B, D)."""
    return rng.normal(size=(S, D, D)) / np.sqrt(D), *rng.normal(size=(2, B, D))


def on_one_device(w, batch, targets, slope=lambda x, y: 1 - y**2, back=lambda da, w: da @ w.T):
    """[(loss, dw) of each stage], by the whole batch at once."""
    ys = [batch]
    for each in w:
        ys.append(np.tanh(ys[-1] @ each))
    dy, found = 2 * (ys[-1] - targets) / targets.size, []
    for each, x, y in zip(w[::-1], ys[-2::-1], ys[:0:-1]):
        da = dy * slope(x, y)
        found.append((0.0, x.T @ da))
        dy = back(da, each)
    found[0] = float(np.mean((ys[-1] - targets) ** 2)), found[0][1]
    return found[::-1]


def stages(w, batch, targets, M):
    """{words: wrong results}."""
    right, D = on_one_device(w, batch, targets), batch.shape[1]
    last = on_one_device(w, np.split(batch, M)[-1], np.split(targets, M)[-1])
    mistakes = {
        "each micro-batch's loss is a mean of its own: divide by the numbers of the whole batch": [
            (M * loss, M * dw) for loss, dw in right
        ],
        "the loss is right, and the gradients are M times too large": [
            (loss, M * dw) for loss, dw in right
        ],
        "the last micro-batch's gradient takes the place of the sum": [
            (loss, dw / M) for (loss, _), (_, dw) in zip(right, last)
        ],
        "every rank returns the loss; only the last one has it": [
            (right[-1][0], dw) for _, dw in right
        ],
    }
    if M > 1:
        mistakes |= {
            "the losses of micro-batches add up; this is the last one's alone": [
                (loss / M, dw) for (loss, _), (_, dw) in zip(last, right)
            ],
            "the losses of micro-batches add up; this is the mean of the last one": [
                (loss, dw) for (loss, _), (_, dw) in zip(last, right)
            ],
        }
    else:
        mistakes = {}
    slips = {
        "the derivative of tanh is missing: da = dy · (1 − y²)": {"slope": lambda x, y: 1.0},
        "the derivative of tanh is 1 − y², not 1 − x²": {"slope": lambda x, y: 1 - x**2},
        "dx is da · wᵀ, and w is not transposed": {"back": lambda da, w: da @ w},
        "what goes to the stage before is dx, not da": {"back": lambda da, w: da},
    }
    wrong = {words: on_one_device(w, batch, targets, **slip) for words, slip in slips.items()}
    if len(w) > 1:
        wrong["what goes to the stage before is dx, not the dy that has come"] = dy_passed_on(
            w, batch, targets
        )
    return right, mistakes | wrong | {
        "the derivative of (y − t)² is 2·(y − t): the 2 is missing": [
            (loss, dw / 2) for loss, dw in right
        ],
        "the mean is over all numbers of the batch, not over its rows: targets.size": [
            (loss, dw * D) for loss, dw in right
        ],
        "the mean is over all numbers, not over the rows: divide by targets.size": [
            (loss * D, dw * D) for loss, dw in right
        ],
    }


def dy_passed_on(w, batch, targets):
    """[(loss, dw) of each stage] if all stages take the last one's dy for their own."""
    ys = [batch]
    for each in w:
        ys.append(np.tanh(ys[-1] @ each))
    dy = 2 * (ys[-1] - targets) / targets.size
    found = [(0.0, x.T @ (dy * (1 - y**2))) for x, y in itertools.pairwise(ys)]
    return [*found[:-1], (float(np.mean((ys[-1] - targets) ** 2)), found[-1][1])]


def mixed_up(w, batch, targets, stage, take):
    """(loss, dw) of one stage alone that takes x and y of another micro-batch than it should.

    ``take``: which of those that are held, in the order in which they came; None: the last that
    went forward.
    """
    M = len(stage) // 2
    xs, ts = np.split(batch, M), np.split(targets, M)
    held, dw = [], 0.0
    for kind, m in stage:
        if kind == "F":
            held.append(xs[m])
        else:
            x = held[-1] if take is None else held.pop(take)
            y = np.tanh(x @ w)
            dw = dw + x.T @ (2 * (y - ts[m]) / targets.size * (1 - y**2))
    return float(np.mean((np.tanh(batch @ w) - targets) ** 2)), dw


def check_stages(answer, rng, schedule, B, D):
    """Run a schedule, and compare with one device; the run."""
    S, M = len(schedule), len(schedule[0]) // 2
    w, batch, targets = model(rng, S, B, D)
    program = answer.run_stage.on_ranks(S, may_use=MESSAGES, topology=FREE)
    run = program(per_rank(schedule), per_rank(list(w)), batch, targets)
    expect(run, *stages(w, batch, targets, M))
    return run


def in_turn(run, schedule):
    """Check that every rank has done its actions in the order of the list, and said so."""
    for rank, stage in enumerate(schedule):
        want = [f"{kind}{m}" for kind, m in stage]
        events = [e for e in run.events if e.rank == rank and e.kind == "compute"]
        got = [event.name for event in sorted(events, key=lambda event: event.begin)]
        if got != want:
            but(
                "the actions are not done in the order of the list: rank "
                f"{rank} is to compute {' '.join(want)}, and computes {' '.join(got) or 'nothing'}."
            )
        for event in events:
            seconds = 1.0 if event.name.startswith("F") else 2.0
            if abs(event.end - event.begin - seconds) > 1e-9:
                took = event.end - event.begin
                but(f"rank {rank} computes {event.name} for {took:g} s, and not for {seconds:g} s.")


def alone(answer, stage, w, batch, targets):
    """The run of one stage alone."""
    program = answer.run_stage.on_ranks(1, may_use=MESSAGES, topology=FREE)
    return program(stage, w, batch, targets)


def check_order(answer):
    """Check that micro-batches are cut off the batch in order."""
    # The first two rows cancel if they are added one after the other. If a 1 comes between, it is
    # lost: 2⁷⁰ + 1 is 2⁷⁰ in 53 bits.
    batch = np.array([[2.0**70], [-(2.0**70)], [1.0], [1.0]])
    targets, w = np.ones((4, 1)), np.zeros((1, 1))
    for stage in (actions("F0 B0 F1 B1"), actions("F0 B0 F1 B1 F2 B2 F3 B3")):
        words = "micro-batch 0 is the first rows of the batch, and 1 the rows after them"
        mistakes = {words: [(1.0, np.zeros((1, 1)))]}
        expect(alone(answer, stage, w, batch, targets), [(1.0, np.array([[-1.0]]))], mistakes)


def test_one_stage_alone_adds_up_its_micro_batches(answer, rng):
    check_stages(answer, rng, [actions("F0 B0")], 3, 2)
    stage = actions("F0 F1 B1 F2 B0 B2")
    w, batch, targets = model(rng, 1, 6, 3)
    right, mistakes = stages(w, batch, targets, 3)
    words = '("B", m) needs x and y of micro-batch m, not those that have been held for the {}'
    mistakes |= {
        words.format(time): [mixed_up(w[0], batch, targets, stage, take)]
        for time, take in (("longest", 0), ("shortest time", -1))
    }
    words = "x and y are kept of the last micro-batch alone, not of each until its backward pass"
    mistakes[words] = [mixed_up(w[0], batch, targets, stage, None)]
    expect(alone(answer, stage, w[0], batch, targets), right, mistakes)


def test_gpipe_runs_as_one_device_does(answer, rng):
    for S, M, B in ((2, 2, 4), (3, 4, 8), (4, 3, 3)):
        schedule = [counted("F", range(M)) + counted("B", range(M))] * S
        in_turn(check_stages(answer, rng, schedule, B, 3), schedule)
    check_order(answer)


def test_one_f_one_b_runs_and_nobody_waits_for_ever(answer, rng):
    for S, M, B in ((2, 4, 8), (4, 6, 6), (4, 2, 6)):
        schedule = one_by_one(S, M)
        in_turn(check_stages(answer, rng, schedule, B, 3), schedule)


def test_stages_take_the_time_and_send_the_bytes_of_the_formulas(answer, rng):
    S, M, B, D = 4, 8, 16, 3
    run = check_stages(answer, rng, one_by_one(S, M), B, D)
    rows = "more is sent than the rows of one micro-batch at a time"
    at_most(max(run.traffic.sent()), 2 * B * D * 8, "bytes that a rank sends", rows)
    late = "a result is sent later than it could be, or a stage waits for what it does not need yet"
    at_most(run.seconds, 3.0 * (M + S - 1), "simulated seconds", late)
    if run.seconds < 3.0 * (M + S - 1):
        but(
            "nobody can be so fast: comm.compute is to be called after "
            "what an action needs has come, and before what it gives is sent."
        )
