"""Tests of exercise 23: data parallelism."""

import itertools

import numpy as np

from minigrad.course.testing import at_most, expect, fail, per_rank
from minigrad.distributed import FullyConnected

#: a message takes 1 s, and each number (of 8 bytes) another
CLOCK = FullyConnected(alpha=1.0, bandwidth=8.0)


def on(function, size, topology=CLOCK):
    """A function of the answer on so many ranks, with AllReduce alone."""
    return function.on_ranks(size, may_use=("all_reduce", "compute"), topology=topology)


def once_a_bucket(run, buckets):
    """Check that there are as many messages as buckets."""
    count = max(run.called("all_reduce"))
    alone = "each gradient is sent by itself, and not with the others of its bucket"
    at_most(count, len(buckets), "calls of all_reduce", alone)
    if count < len(buckets):
        fail(
            f"The values are right. But all_reduce is called {count} times for {len(buckets)} "
            "buckets.\n\nLikely mistake: several buckets are sent as one: one call for each."
        )


def weighted(gradients, samples):
    """(the right mean on every rank, {words: wrong ones}) of the ranks' gradients."""
    P, total = len(gradients), sum(samples)
    summed = sum(g * n for g, n in zip(gradients, samples))
    mistakes = {
        "every rank counts alike, however many samples it has": [sum(gradients) / P] * P,
        "the ranks' gradients are added up as they are, and not averaged": [sum(gradients)] * P,
        "the sum is not divided by the number of all samples": [summed] * P,
        "the sum is divided by the number of ranks, not by that of all samples": [summed / P] * P,
        "the sum is divided by the rank's own number of samples": [summed / n for n in samples],
        "the ranks' gradients are added up without their numbers of samples": [
            sum(gradients) / total
        ]
        * P,
    }
    return [summed / total] * P, mistakes


def test_two_ranks_of_10_and_20_samples(answer):
    gradients = [np.array([1.0, -2.0]), np.array([4.0, 7.0])]
    run = on(answer.mean_gradient, 2)(per_rank(gradients), per_rank([10, 20]))
    _, mistakes = weighted(gradients, [10, 20])
    expect(run, [np.array([3.0, 4.0])] * 2, mistakes)


def test_mean_gradient_of_uneven_shares(answer, rng):
    for samples in ([5], [3, 3], [1, 8, 4], [2, 7, 1, 9, 3]):
        gradients = [rng.normal(size=(2, 3)) for _ in samples]
        run = on(answer.mean_gradient, len(samples))(per_rank(gradients), per_rank(samples))
        want, mistakes = weighted(gradients, samples)
        expect(run, want, mistakes if len(set(samples)) > 1 else {})


def filled(sizes, most):
    """The right buckets: cut wherever the next one would not fit."""
    order, buckets = list(range(len(sizes)))[::-1], []
    while order:
        sums = list(itertools.accumulate(sizes[i] for i in order))
        fit = max(1, sum(total <= most for total in sums))
        buckets.append(order[:fit])
        order = order[fit:]
    return buckets


def wrong_buckets(sizes, most):
    last = len(sizes) - 1
    forward = [[last - i for i in bucket] for bucket in filled(sizes[::-1], most)]
    late = []
    for i in reversed(range(len(sizes))):
        if not late or sum(sizes[j] for j in late[-1]) >= most:
            late.append([])
        late[-1].append(i)
    return {
        "the first parameter comes first: backward completes the last one first": forward,
        "buckets hold the parameters' places in sizes, not their sizes": [
            [sizes[i] for i in bucket] for bucket in filled(sizes, most)
        ],
        "a bucket holds more than it may: look before the parameter goes in": late,
        "a bucket that is just full is one too full: at most means <=": filled(sizes, most - 1),
        "parameters are put in ascending order in their buckets": [
            sorted(bucket) for bucket in filled(sizes, most)
        ],
        "every parameter has a bucket of its own": [[i] for i in reversed(range(len(sizes)))],
        "the bucket in front is empty": [[], *filled(sizes, most)],
        "the last bucket is missing": filled(sizes, most)[:-1],
    }


def test_five_parameters_in_buckets_of_six(answer):
    sizes = [5, 2, 7, 1, 3]
    expect(answer.fill_buckets(sizes, 6), [[4, 3], [2], [1], [0]], wrong_buckets(sizes, 6))


def test_buckets_of_any_parameters(answer, rng):
    for count, most in ((1, 10), (8, 12), (30, 15), (25, 1000), (6, 1)):
        sizes = [int(n) for n in rng.integers(1, 12, size=count)]
        want = filled(sizes, most)
        expect(answer.fill_buckets(sizes, most), want, wrong_buckets(sizes, most))
    none = "without parameters there is no bucket, not an empty one"
    expect(answer.fill_buckets([], 5), [], {none: [[]]})


def test_a_bucket_may_be_just_full(answer):
    sizes = [2, 2, 3, 1, 9, 4]
    want = [[5], [4], [3, 2], [1, 0]]
    expect(answer.fill_buckets(sizes, 4), want, wrong_buckets(sizes, 4))


SHAPES = [(2, 3), (4,), (1, 2, 2), (5,), (3, 1)]


def drawn(rng, P, shapes=SHAPES):
    return [[rng.normal(size=shape) for shape in shapes] for _ in range(P)]


def means(gradients):
    """The mean over ranks of each gradient."""
    return [sum(several) / len(gradients) for several in zip(*gradients)]


def wrong_means(gradients, buckets):
    """{words: what a wrong synchronisation leaves on each rank}."""
    P, right = len(gradients), means(gradients)
    order = [i for bucket in buckets for i in bucket]
    return {
        "gradients are added up, and not averaged": [[g * P for g in right]] * P,
        "the rank's own gradients come back, without the others'": gradients,
        "gradients stand in the order of the buckets, not in their own": [[right[i] for i in order]]
        * P,
        "gradients come back flat: each has a shape": [[g.reshape(-1) for g in right]] * P,
        "each bucket comes back as one array: it has to be cut into its gradients": lambda: (
            [[np.hstack([right[i].reshape(-1) for i in bucket]) for bucket in buckets]] * P
        ),
        "pieces are cut in another order than that in which they were put together": lambda: (
            [crossed(right, buckets)] * P
        ),
    }


def crossed(right, buckets):
    """The mean gradients, where each bucket is cut in ascending order."""
    found = [None] * len(right)
    for bucket in buckets:
        flat, start = np.hstack([right[i].reshape(-1) for i in bucket]), 0
        for i in sorted(bucket):
            found[i] = flat[start : start + right[i].size].reshape(right[i].shape)
            start += right[i].size
    return found


def test_two_ranks_average_two_gradients(answer):
    one, other = np.array([[1.0, 2.0]]), np.array([30.0])
    gradients = [[one, other], [3 * one, -other]]
    want = [[np.array([[2.0, 4.0]]), np.array([0.0])]] * 2
    run = on(answer.synchronise, 2)(per_rank(gradients), [[1, 0]])
    expect(run, want, wrong_means(gradients, [[1, 0]]))


def test_gradients_of_any_buckets_on_any_number_of_ranks(answer, rng):
    for P, buckets in (
        (1, [[4, 3, 2, 1, 0]]),
        (3, [[4, 3], [2, 1], [0]]),
        (5, [[4], [3, 2, 1, 0]]),
    ):
        gradients = drawn(rng, P)
        run = on(answer.synchronise, P)(per_rank(gradients), buckets)
        expect(run, [means(gradients)] * P, wrong_means(gradients, buckets) if P > 1 else {})


def test_one_message_carries_a_bucket(answer, rng):
    buckets = [[2, 1], [0]]
    gradients = drawn(rng, 2, [(1, 2), (3,), (1,)])
    run = on(answer.synchronise, 2)(per_rank(gradients), buckets)
    expect(run, [means(gradients)] * 2, wrong_means(gradients, buckets))
    once_a_bucket(run, buckets)
    numbers = sum(g.size for g in gradients[0])
    at_most(max(run.traffic.sent()), 8 * 2 * numbers, "bytes that a rank sends", "more is sent")


def wrong_accumulation(gradients):
    """{words: a wrong mean on each rank}; gradients (P, M, n)."""
    P, M = gradients.shape[:2]
    total = gradients.sum(axis=(0, 1))
    return {
        "the ranks' gradients are averaged, the micro-batches' are added up": [total / P] * P,
        "the micro-batches' gradients are averaged, the ranks' are added up": [total / M] * P,
        "gradients are added up, and not averaged": [total] * P,
        "only the last micro-batch counts": [gradients[:, -1].mean(axis=0)] * P,
        "the rank's own mean comes back, without the others'": list(gradients.mean(axis=1)),
    }


def test_two_ranks_of_three_micro_batches(answer):
    gradients = np.array([[[1.0, 0.0], [2.0, 6.0], [6.0, 0.0]], [[9.0, 1.0], [0.0, 2.0], [0, 3.0]]])
    run = on(answer.accumulate, 2)(per_rank(gradients))
    expect(run, [np.array([3.0, 2.0])] * 2, wrong_accumulation(gradients))


def test_micro_batches_of_any_number_of_ranks(answer, rng):
    for P, M in ((1, 3), (3, 1), (3, 4), (4, 2)):
        gradients = rng.normal(size=(P, M, 5))
        run = on(answer.accumulate, P)(per_rank(gradients))
        mistakes = wrong_accumulation(gradients) if P > 1 and M > 1 else {}
        expect(run, [gradients.mean(axis=(0, 1))] * P, mistakes)


def test_micro_batches_are_sent_once(answer, rng):
    gradients = rng.normal(size=(2, 3, 2))
    run = on(answer.accumulate, 2)(per_rank(gradients))
    expect(run, [gradients.mean(axis=(0, 1))] * 2, wrong_accumulation(gradients))
    every = "every micro-batch is sent: add them up first, and send once"
    at_most(max(run.called("all_reduce")), 1, "calls of all_reduce", every)
    at_most(max(run.traffic.sent()), 2 * 2 * 8, "bytes that a rank sends", every)


def times(gradients, buckets, seconds, clock):
    """(when each bucket is complete, when the last one has arrived) on 4 ranks: two exchanges."""
    number = 8 / clock.bandwidth
    work = wires = 0.0
    complete = []
    for bucket in buckets:
        work += sum(seconds[i] for i in bucket)
        complete.append(work)
        wires = max(work, wires) + 2 * (1 + number * sum(gradients[i].size for i in bucket))
    return complete, wires


def of_one_buffer(gradients, buckets):
    """The means, where each bucket has been written over those before it, in one buffer."""
    right, found = means(gradients), [None] * len(gradients[0])
    buffer = np.zeros(sum(g.size for g in right))
    for bucket in buckets:
        flat = np.hstack([right[i].reshape(-1) for i in bucket])
        buffer[: len(flat)] = flat
    for bucket in buckets:
        start = 0
        for i in bucket:
            found[i] = buffer[start : start + right[i].size].reshape(right[i].shape)
            start += right[i].size
    return found


def check_overlap(answer, gradients, buckets, seconds, clock=CLOCK):
    run = on(answer.overlapped, 4, clock)(per_rank(gradients), buckets, seconds)
    mistakes = wrong_means(gradients, buckets)
    reused = "an array was changed while it was on its way: each bucket needs one of its own"
    mistakes[reused] = [of_one_buffer(gradients, buckets)] * 4
    expect(run, [means(gradients)] * 4, mistakes)
    worked = sum(e.end - e.begin for e in run.events if e.kind == "compute" and e.rank == 0)
    if abs(worked - sum(seconds)) > 1e-9:
        fail(
            f"The values are right. But rank 0 works for {worked:.4g} seconds, and the gradients "
            f"take {sum(seconds):.4g}: comm.compute(seconds[i]) for each of them."
        )
    complete, end = times(gradients[0], buckets, seconds, clock)
    once_a_bucket(run, buckets)
    begins = [e.begin for e in run.events if e.kind == "communicate" and e.rank == 0]
    for k, (begin, ready) in enumerate(zip(begins, complete)):
        if begin < ready - 1e-9:
            fail(
                f"The values are right. But the message of bucket {k} begins at {begin:.4g} s, and "
                f"its gradients are complete at {ready:.4g} s.\n\nLikely mistake: a bucket leaves "
                "before its last gradient is complete."
            )
    return run, end


LATE = "the rank waits for a bucket before it works on, or sends only when all work is done"
WAITS = "the rank waits for a bucket before it sends the next one: wait when all work is done"


def test_a_bucket_travels_while_the_next_one_is_computed(answer):
    rows = np.arange(1.0, 5.0)[:, None, None]
    gradients = [[row, 2 * row[0]] for row in rows * np.ones((4, 1, 3))]
    run, end = check_overlap(answer, gradients, [[1], [0]], [10.0, 2.0])
    at_most(run.seconds, end, "simulated seconds", LATE)
    # A large first bucket is still under way when the second one is complete.
    quick = FullyConnected(alpha=1.0, bandwidth=64.0)
    gradients = [[np.full(n, rank + 1.0) for n in (4, 4, 40)] for rank in range(4)]
    run, _ = check_overlap(answer, gradients, [[2], [1], [0]], [10.0, 1.0, 1.0], quick)
    at_most(run.seconds, 19.0, "simulated seconds", WAITS)


def test_overlap_of_any_buckets(answer, rng):
    for buckets in ([[4, 3], [2, 1], [0]], [[4], [3, 2], [1, 0]]):
        for scale in (1.0, 6.0):
            gradients = drawn(rng, 4)
            seconds = [scale * float(t) / 2 for t in rng.integers(2, 11, size=5)]
            run, end = check_overlap(answer, gradients, buckets, seconds)
            at_most(run.seconds, end + 1e-9, "simulated seconds", LATE)


def finished(forward, backward, messages):
    """When a step ends: the latest that some layer's gradient and all messages from it on allow."""
    layers = range(len(backward))
    ready = [forward + sum(backward[i:]) for i in layers]
    return max(max(ready[i] + sum(messages[: i + 1]) for i in layers), ready[0])


def wrong_steps(forward, backward, messages):
    lonely = max(forward + sum(backward[i:]) + messages[i] for i in range(len(backward)))
    return {
        "messages begin when all of backward is done": forward + sum(backward) + sum(messages),
        "that is the formula for equal layers: go through them one after the other": forward
        + max(sum(backward) + messages[0], backward[-1] + sum(messages)),
        "messages do not wait for each other: the wires carry one at a time": lonely,
        "backward goes through the layers from the first to the last": finished(
            forward, backward[::-1], messages[::-1]
        ),
        "forward is missing": finished(0.0, backward, messages),
        "work and messages are not added up: the longer one counts": forward
        + max(sum(backward), sum(messages)),
        "messages begin with backward, before a gradient is complete": forward
        + max(sum(backward), sum(messages), messages[0]),
    }


def test_three_equal_layers_by_hand(answer):
    for message, want in ((2.0, 21.0), (5.0, 28.0)):
        case = 10.0, [3.0] * 3, [message] * 3
        expect(answer.step_seconds(*case), want, wrong_steps(*case))


def test_a_step_of_unequal_layers(answer, rng):
    for _ in range(20):
        layers = int(rng.integers(2, 9))
        backward = [float(t) / 2 for t in rng.integers(1, 41, size=layers)]
        messages = [float(t) / 2 for t in rng.integers(1, 41, size=layers)]
        case = float(rng.integers(20, 180)) / 2, backward, messages
        expect(answer.step_seconds(*case), finished(*case), wrong_steps(*case))


def test_messages_that_take_no_time(answer):
    case = 4.0, [1.0, 2.5, 3.0], [0.0, 0.0, 0.0]
    expect(answer.step_seconds(*case), 10.5, {"forward is missing": 6.5})
