"""Tests of exercise 02: the risk's gradient, the rules, the schedule and the training loop."""

import math

import numpy as np

from minigrad.course.testing import expect


def slope_of_risk(w, X, y):
    """The gradient by central differences, which are exact for a risk that is quadratic in w."""

    def risk(w):
        return sum((float(np.dot(x, w)) - a) ** 2 for x, a in zip(X, y)) / len(y)

    return np.array([(risk(w + e) - risk(w - e)) / 2 for e in np.eye(len(w))])


def fading_sums(gradients, beta):
    """After each step t: the sum of all gradients so far, each times beta once per later step."""
    return [
        sum(beta ** (t - s) * g for s, g in enumerate(gradients[: t + 1]))
        for t in range(len(gradients))
    ]


def moved(w, m, v, lr, eps=1e-8):
    """The weights after a step by the means m and v as given."""
    return w - lr * m / (np.sqrt(v) + eps)


def adam_states(w, gradients, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0):
    """(w, m, v) before the first step and after each, from sums over all gradients so far."""
    states = [(w, np.zeros_like(w), np.zeros_like(w))]
    sums = fading_sums(gradients, beta1)
    squares = fading_sums([g * g for g in gradients], beta2)
    for t, (a, b) in enumerate(zip(sums, squares)):
        mean = a / sum(beta1**s for s in range(t + 1))
        mean_square = b / sum(beta2**s for s in range(t + 1))
        w = moved(w - lr * decay * w, mean, mean_square, lr, eps)
        states.append((w, (1 - beta1) * a, (1 - beta2) * b))
    return states


def trained(w, X, y, batches, rates, decay=0.01, forget_at=()):
    """The path of AdamW over given batches with given step sizes."""
    path, m, v, t = [w], 0 * w, 0 * w, 0
    for k, (batch, rate) in enumerate(zip(batches, rates)):
        if k in forget_at:
            m, v, t = 0 * w, 0 * w, 0
        t += 1
        g = np.mean([2 * (X[i] @ w - y[i]) * X[i] for i in batch], axis=0)
        m, v = m + 0.1 * (g - m), v + 0.001 * (g * g - v)
        step = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        w = (1 - rate * decay) * w - rate * step
        path.append(w)
    return np.array(path)


def half_cosine(lr, steps):
    """The step sizes of a schedule without warm-up that ends at 0."""
    return [lr * math.cos(math.pi / 2 * k / steps) ** 2 for k in range(steps)]


def test_the_gradient_is_averaged_over_the_samples(answer):
    w = np.array([1.0, 2.0])
    X = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0], [1.0, 3.0]])
    y = np.array([0.0, 4.0, 3.0, 8.0])  # the model says 1, 2, 4, 7
    expect(
        answer.gradient(w, X, y),
        np.array([1.0, -2.0]),
        mistakes={
            "the gradient is summed over the samples, not averaged": np.array([4.0, -8.0]),
            "the factor 2 of the square's derivative is missing": np.array([0.5, -1.0]),
            "the sign is wrong: the miss is the model's answer minus y": np.array([-1.0, 2.0]),
            "it is averaged over the weights too, or instead": np.array([2.0, -4.0]),
            "(N, 1) met (N,), so that every answer of the model is compared with every y": (
                2 / 4 * X.T @ ((X @ w)[:, None] - y)
            ),
        },
    )


def test_the_gradient_agrees_with_finite_differences(answer, rng):
    for N, D in [(7, 3), (3, 4), (5, 1)]:
        w, X, y = rng.normal(size=D), rng.normal(size=(N, D)), rng.normal(size=N)
        right = slope_of_risk(w, X, y)
        expect(
            answer.gradient(w, X, y),
            right,
            mistakes={
                "the gradient is summed over the samples, not averaged": N * right,
                "the factor 2 of the square's derivative is missing": right / 2,
                "the answers y are ignored": slope_of_risk(w, X, 0 * y),
            },
        )


def test_a_mini_batch_is_averaged_over_its_own_samples(answer, rng):
    w, X, y = rng.normal(size=3), rng.normal(size=(8, 3)), rng.normal(size=8)
    for batch in [[5], [2, 6], [0, 7, 3, 3, 4]]:
        right = slope_of_risk(w, X[batch], y[batch])
        expect(
            answer.gradient(w, X[batch], y[batch]),
            right,
            mistakes={
                "the gradient is summed over the samples, not averaged": len(batch) * right,
                "the factor 2 of the square's derivative is missing": right / 2,
            },
        )


def test_the_step_follows_the_new_velocity(answer):
    w, g, v = np.array([1.0, 2.0]), np.array([0.5, -1.0]), np.array([2.0, 0.0])
    new = np.array([2.3, -1.0])
    expect(
        answer.momentum_step(w, g, v, lr=0.1, beta=0.9),
        (np.array([0.77, 2.1]), new),
        mistakes={
            "the step follows the old velocity, not the new one": (np.array([0.8, 2.0]), new),
            "the step follows the gradient alone": (np.array([0.95, 2.1]), new),
            "the step goes uphill": (np.array([1.23, 1.9]), new),
            "the gradient is weighted by 1 - beta, but the velocity is a sum, not a mean": (
                np.array([0.815, 2.01]),
                np.array([1.85, -0.1]),
            ),
            "lr is multiplied into the velocity, not into the step": (
                np.array([-0.85, 2.1]),
                np.array([1.85, -0.1]),
            ),
            "the velocity points downhill already: -lr g was added to it, and it to w": (
                np.array([2.75, 2.1]),
                np.array([1.75, 0.1]),
            ),
            "this is Nesterov's step, which looks one step ahead": (np.array([0.743, 2.19]), new),
            "the velocity is returned first": (new, np.array([0.77, 2.1])),
            "the old velocity is returned": (np.array([0.77, 2.1]), v),
        },
    )


def test_old_gradients_fade_by_beta(answer, rng):
    lr, beta = 0.3, 0.8
    w, *gradients = rng.normal(size=(6, 4))
    velocities = fading_sums(gradients, beta)
    for g, v, new in zip(gradients[1:], velocities, velocities[1:]):
        mean = beta * v + (1 - beta) * g
        expect(
            answer.momentum_step(w, g, v, lr, beta),
            (w - lr * new, new),
            mistakes={
                "the step follows the old velocity, not the new one": (w - lr * v, new),
                "the gradient is weighted by 1 - beta, but the velocity is a sum, not a mean": (
                    w - lr * mean,
                    mean,
                ),
                "beta is ignored": (w - lr * (0.9 * v + g), 0.9 * v + g),
            },
        )
        w = w - lr * new


def test_momentum_keeps_shape_and_dtype(answer, rng):
    w, g, v = rng.normal(size=(3, 2, 3)).astype(np.float32)  # three arrays (2, 3)
    new = 0.9 * v.astype(float) + g
    expect(
        answer.momentum_step(w, g, v, lr=0.5),
        ((w - 0.5 * new).astype(np.float32), new.astype(np.float32)),
    )


def test_the_first_step_of_adam_has_length_lr_in_every_weight(answer):
    w, g, zeros = np.array([1.0, 2.0, 3.0]), np.array([4.0, -0.5, 100.0]), np.zeros(3)
    m, v = np.array([0.4, -0.05, 10.0]), np.array([0.016, 0.00025, 10.0])
    expect(
        answer.adam_step(w, g, zeros, zeros, t=1, lr=0.1, eps=0.0),
        (np.array([0.9, 2.1, 2.9]), m, v),
        mistakes={
            "the means are not corrected by 1 - beta^t": (w - 0.1 * m / np.sqrt(v), m, v),
            "the corrected means are remembered, not the means as they are": (
                np.array([0.9, 2.1, 2.9]),
                g,
                g**2,
            ),
            "1 - beta^(t + 1) is divided by, but t is 1 in the first step already": (
                w - 0.1 * (m / (1 - 0.9**2)) / np.sqrt(v / (1 - 0.999**2)),
                m,
                v,
            ),
            "eps is 1e-8 whatever is asked for": (w - 0.1 * g / (np.abs(g) + 1e-8), m, v),
            "m and v are returned in the wrong order": (np.array([0.9, 2.1, 2.9]), v, m),
            "the root of v is missing": (w - 0.1 / g, m, v),
            "the step goes uphill": (np.array([1.1, 1.9, 3.1]), m, v),
        },
    )


def test_adam_remembers_both_means(answer, rng):
    lr, beta1, beta2 = 0.2, 0.7, 0.9
    start, *gradients = rng.normal(size=(6, 4))
    states = adam_states(start, gradients, lr, beta1, beta2, eps=0.0)
    for t in range(2, 6):
        (w, m, v), (_, new_m, new_v) = states[t - 1], states[t]
        c1, c2 = 1 - beta1**t, 1 - beta2**t  # the corrections
        expect(
            answer.adam_step(w, gradients[t - 1], m, v, t, lr, beta1, beta2, eps=0.0),
            states[t],
            mistakes={
                "the means are not corrected by 1 - beta^t": (
                    moved(w, new_m, new_v, lr, 0.0),
                    new_m,
                    new_v,
                ),
                "the means are corrected by 1 - beta, whatever t is": (
                    moved(w, new_m / (1 - beta1), new_v / (1 - beta2), lr, 0.0),
                    new_m,
                    new_v,
                ),
                "the corrected means are remembered, not the means as they are": (
                    moved(w, new_m / c1, new_v / c2, lr, 0.0),
                    new_m / c1,
                    new_v / c2,
                ),
                "the step uses the old means": (moved(w, m / c1, v / c2, lr, 0.0), new_m, new_v),
            },
        )


def test_eps_is_added_after_the_root(answer, rng):
    w, g = rng.normal(size=(2, 4))
    states = adam_states(w, [2 * g, g], lr=0.1, eps=0.3)
    (w, m, v), (_, new_m, new_v) = states[1:]
    m_hat, v_hat = new_m / (1 - 0.9**2), new_v / (1 - 0.999**2)
    expect(
        answer.adam_step(w, g, m, v, 2, 0.1, eps=0.3),
        states[2],
        mistakes={
            "eps is added inside the root": (w - 0.1 * m_hat / np.sqrt(v_hat + 0.3), new_m, new_v),
            "eps is added before the root is corrected": (
                w - 0.1 * m_hat / ((np.sqrt(new_v) + 0.3) / np.sqrt(1 - 0.999**2)),
                new_m,
                new_v,
            ),
            "eps is left out": (w - 0.1 * m_hat / np.sqrt(v_hat), new_m, new_v),
            "eps is 1e-8 whatever is asked for": (
                w - 0.1 * m_hat / (np.sqrt(v_hat) + 1e-8),
                new_m,
                new_v,
            ),
        },
    )


def test_adam_keeps_shape_and_dtype(answer, rng):
    w, g = rng.normal(size=(2, 2, 3)).astype(np.float32)  # two arrays (2, 3)
    zeros = np.zeros((2, 3), np.float32)
    right = adam_states(w.astype(float), [g.astype(float)], 0.1)[1]
    expect(
        answer.adam_step(w, g, zeros, zeros, 1, 0.1),
        tuple(each.astype(np.float32) for each in right),
    )


def test_the_decay_shrinks_every_weight_alike(answer):
    w, g, zeros = np.array([1.0, -2.0, 4.0]), np.array([4.0, -0.5, 0.0]), np.zeros(3)
    m, v = np.array([0.4, -0.05, 0.0]), np.array([0.016, 0.00025, 0.0])
    expect(
        answer.adamw_step(w, g, zeros, zeros, t=1, lr=0.1, eps=1e-12, decay=0.5),
        (np.array([0.85, -1.8, 3.8]), m, v),
        mistakes={
            "there is no decay": (np.array([0.9, -1.9, 4.0]), m, v),
            "the decay is not multiplied by lr": (np.array([0.4, -0.9, 2.0]), m, v),
            "the weights grow where they should shrink": (np.array([0.95, -2.0, 4.2]), m, v),
            "the decay is applied after Adam's step, to the new weights": (
                np.array([0.855, -1.805, 3.8]),
                m,
                v,
            ),
            "the decay is added to the gradient, so that it passes through m and v": (
                lambda: adam_states(w, [g + 0.5 * w], 0.1, eps=1e-12)[1]
            ),
        },
        tolerance=1e-8,
    )


def test_the_decay_does_not_pass_through_the_means(answer, rng):
    lr, decay = 0.2, 0.4
    start, *gradients = rng.normal(size=(5, 3))
    states = adam_states(start, gradients, lr, decay=decay)
    for t, g in enumerate(gradients, start=1):
        (w, m, v), (new_w, new_m, new_v) = states[t - 1], states[t]
        undecayed = new_w + lr * decay * w
        pulled = g + decay * w
        wrong_m, wrong_v = 0.9 * m + 0.1 * pulled, 0.999 * v + 0.001 * pulled**2
        expect(
            answer.adamw_step(w, g, m, v, t, lr, decay=decay),
            states[t],
            mistakes={
                "the decay is added to the gradient, so that it passes through m and v": (
                    moved(w, wrong_m / (1 - 0.9**t), wrong_v / (1 - 0.999**t), lr),
                    wrong_m,
                    wrong_v,
                ),
                "the decay is applied after Adam's step, to the new weights": (
                    (1 - lr * decay) * undecayed,
                    new_m,
                    new_v,
                ),
                "there is no decay": (undecayed, new_m, new_v),
            },
        )


def test_adamw_uses_the_options_that_it_is_given(answer, rng):
    start, g1, g2 = rng.normal(size=(3, 2, 3))  # three arrays (2, 3)
    options = dict(beta1=0.6, beta2=0.8, eps=0.2)
    states = adam_states(start, [g1, g2], 0.1, **options, decay=0.3)
    w, m, v = states[1]
    usual_m, usual_v = 0.9 * m + 0.1 * g2, 0.999 * v + 0.001 * g2**2
    expect(
        answer.adamw_step(w, g2, m, v, 2, 0.1, **options, decay=0.3),
        states[2],
        mistakes={
            "beta1, beta2 and eps are not passed on": (
                moved(0.97 * w, usual_m / (1 - 0.9**2), usual_v / (1 - 0.999**2), 0.1),
                usual_m,
                usual_v,
            ),
        },
    )


def test_warm_up_rises_evenly_to_lr(answer):
    for k in range(2):
        expect(
            answer.cosine(k, 1.0, steps=6, warmup=2, final=0.2),
            (k + 1) / 2,
            mistakes={
                "warm-up starts from final, but it starts from 0": 0.2 + 0.4 * (k + 1),
                "warm-up starts at 0, so that the first step is lost": k / 2,
            },
        )
    for k, right in enumerate([0.2, 0.4, 0.6, 0.8]):
        expect(
            answer.cosine(k, 0.8, steps=10, warmup=4),
            right,
            mistakes={
                "warm-up starts at 0, so that the first step is lost": 0.8 * k / 4,
                "warm-up is left out": 0.8,
            },
        )
    expect(
        answer.cosine(4, 0.8, steps=10, warmup=4),
        0.8,
        mistakes={
            "the cosine is counted from step 0, not from the end of warm-up": (
                0.4 * (1 + math.cos(math.pi * 0.4))
            ),
            "warm-up lasts one step too long": 1.0,
        },
    )


def test_half_a_cosine_falls_from_the_end_of_warm_up(answer, rng):
    lr, warmup = float(rng.uniform(0.5, 2)), int(rng.integers(1, 5))
    steps = warmup + 6
    shares = [1, (2 + math.sqrt(3)) / 4, 3 / 4, 1 / 2, 1 / 4, (2 - math.sqrt(3)) / 4]
    for j, share in enumerate(shares):
        k = warmup + j
        expect(
            answer.cosine(k, lr, steps, warmup),
            lr * share,
            mistakes={
                "the cosine is counted from step 0, not from the end of warm-up": (
                    lr / 2 * (1 + math.cos(math.pi * k / steps))
                ),
                "the cosine is stretched over all steps, warm-up included": (
                    lr / 2 * (1 + math.cos(math.pi * j / steps))
                ),
                "the end is reached one step early: it is k = steps, not steps - 1": (
                    lr / 2 * (1 + math.cos(math.pi * j / 5))
                ),
                "a straight line falls here, not a cosine": lr * (1 - j / 6),
                "a quarter of the cosine is used, not half": lr * math.cos(math.pi / 2 * j / 6),
                "a whole cosine is used, not half": lr / 2 * (1 + math.cos(2 * math.pi * j / 6)),
            },
        )


def test_without_warm_up_the_first_step_has_lr(answer):
    expect(answer.cosine(0, 0.3, steps=3), 0.3)
    expect(answer.cosine(1, 0.3, 3), 0.225)
    expect(answer.cosine(2, 0.3, 3), 0.075)


def test_the_schedule_ends_at_final_and_stays_there(answer):
    options = dict(steps=8, warmup=2, final=0.4)
    for k, share in [(6, 1 / 4), (4, 3 / 4), (5, 1 / 2), (8, 0)]:  # at 6 all mistakes differ
        early = (1 + math.cos(math.pi * min((k - 2) / 5, 1))) / 2
        expect(
            answer.cosine(k, 1.0, **options),
            0.4 + 0.6 * share,
            mistakes={
                "final is ignored": share,
                "final is added to the whole schedule, which then begins above lr": 0.4 + share,
                "the schedule is cut off at final, not drawn between lr and final": max(share, 0.4),
                "the end is reached one step early: it is k = steps, not steps - 1": (
                    0.4 + 0.6 * early
                ),
            },
        )
    for k in (9, 11, 50):
        expect(
            answer.cosine(k, 1.0, **options),
            0.4,
            mistakes={
                "the cosine rises again after its end": (
                    0.4 + 0.3 * (1 + math.cos(math.pi * (k - 2) / 6))
                ),
            },
        )
    bend = 0.4 * math.sqrt(1 / 2)
    for k, right in enumerate([0.5, 1.0, 1.0, 0.6 + bend, 0.6, 0.6 - bend, 0.2, 0.2]):
        expect(answer.cosine(k, 1.0, steps=6, warmup=2, final=0.2), right)


def test_one_step_of_training_is_one_step_of_adamw(answer, rng):
    w, X, y = rng.normal(size=2), rng.normal(size=(3, 2)), rng.normal(size=3)
    g = slope_of_risk(w, X, y)
    end = 0.9 * w - 0.2 * g / (np.abs(g) + 1e-8)
    expect(
        answer.train(w, X, y, np.array([[1, 0, 2]]), batch_size=3, lr=0.2, decay=0.5),
        np.array([w, end]),
        mistakes={
            "the path lacks the weights at the start": np.array([end]),
            "only the last weights are returned, not the path": end,
            "there is no decay": np.array([w, end + 0.1 * w]),
            "decay is not passed on, or by position, so that it arrives as beta1": (
                np.array([w, end + 0.098 * w])
            ),
            "Adam's t is counted from 0, but it is 1 for the first step": np.array([w, np.nan * w]),
        },
    )


def test_the_rest_of_a_pass_is_a_smaller_batch(answer, rng):
    w, X, y = rng.normal(size=3), rng.normal(size=(7, 3)), rng.normal(size=7)
    order = rng.permutation(7)
    batches = [order[:3], order[3:6], order[6:]]
    expect(
        answer.train(w, X, y, order[None], batch_size=3, lr=0.2),
        trained(w, X, y, batches, half_cosine(0.2, 3)),
        mistakes={
            "the smaller batch at the end of a pass is left out": (
                lambda: trained(w, X, y, batches[:2], half_cosine(0.2, 2))
            ),
            "the smaller batch is filled up with samples from the beginning": (
                lambda: trained(w, X, y, [*batches[:2], order[[6, 0, 1]]], half_cosine(0.2, 3))
            ),
            "the schedule has 2 steps, but there are 3 batches: the last is a smaller one": (
                lambda: trained(w, X, y, batches, [*half_cosine(0.2, 2), 0.0])
            ),
            "the samples are read as they lie, not in the order given": (
                lambda: trained(w, X, y, [range(3), range(3, 6), range(6, 7)], half_cosine(0.2, 3))
            ),
            "the step size is lr throughout": lambda: trained(w, X, y, batches, [0.2] * 3),
            "the schedule is asked for step k + 1, but steps count from 0": (
                lambda: trained(w, X, y, batches, [*half_cosine(0.2, 3)[1:], 0.0])
            ),
        },
    )


def test_means_and_schedule_go_on_from_pass_to_pass(answer, rng):
    w, X, y = rng.normal(size=2), rng.normal(size=(5, 2)), rng.normal(size=5)
    orders = np.array([rng.permutation(5) for _ in range(3)])
    batches = [order[i : i + 2] for order in orders for i in (0, 2, 4)]  # 9 of them
    rates = half_cosine(0.4, 9)
    joined = [orders.ravel()[i : i + 2] for i in range(0, 15, 2)]
    too_few = "steps, but there are 9 batches: each pass ends with a smaller one"
    expect(
        answer.train(w, X, y, orders, batch_size=2, lr=0.4, decay=0.0),
        trained(w, X, y, batches, rates, decay=0.0),
        mistakes={
            "the means start anew in each pass": (
                lambda: trained(w, X, y, batches, rates, 0.0, forget_at=(3, 6))
            ),
            "the schedule starts anew in each pass": (
                lambda: trained(w, X, y, batches, half_cosine(0.4, 3) * 3, 0.0)
            ),
            "means and schedule start anew in each pass": (
                lambda: trained(w, X, y, batches, half_cosine(0.4, 3) * 3, 0.0, (3, 6))
            ),
            f"the schedule has 8 {too_few}": (
                lambda: trained(w, X, y, batches, [*half_cosine(0.4, 8), 0.0], 0.0)
            ),
            f"the schedule has 7 {too_few}": (
                lambda: trained(w, X, y, batches, [*half_cosine(0.4, 7), 0.0, 0.0], 0.0)
            ),
            "batches go on from one pass into the next": (
                lambda: trained(w, X, y, joined, half_cosine(0.4, 8), 0.0)
            ),
            "the first order is used in every pass": (
                lambda: trained(w, X, y, batches[:3] * 3, rates, 0.0)
            ),
            "the step size is lr throughout": (lambda: trained(w, X, y, batches, [0.4] * 9, 0.0)),
        },
    )


def test_training_warms_up_once(answer, rng):
    w, X, y = rng.normal(size=2), rng.normal(size=(4, 2)), rng.normal(size=4)
    orders = np.array([[3, 1, 0, 2], [0, 2, 1, 3]])
    batches = [[3, 1, 0], [2], [0, 2, 1], [3]]
    rates = [0.15, 0.3, 0.3, 0.15]
    expect(
        answer.train(w, X, y, orders, batch_size=3, lr=0.3, warmup=2),
        trained(w, X, y, batches, rates),
        mistakes={
            "warm-up is left out": lambda: trained(w, X, y, batches, half_cosine(0.3, 4)),
            "the step size is lr throughout": lambda: trained(w, X, y, batches, [0.3] * 4),
        },
    )
