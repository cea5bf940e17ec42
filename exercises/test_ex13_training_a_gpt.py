"""Tests of exercise 13: training a GPT, from its table of sizes to the loop."""

import math

import numpy as np

from minigrad.course.testing import expect, given

IGNORED = -100
CLIPPING = 1e-5  # room for max_norm / (length + 1e-6), which is in use and as good


def rate_by_angle(step, lr, steps, warmup, final):
    """The same schedule, read off a circle: a point turns by π from the top to the bottom."""
    if step < warmup:
        return np.interp(step, [-1, warmup - 1], [0.0, lr])
    turned = np.exp(1j * np.pi * np.interp(step, [warmup, steps], [0.0, 1.0])).real  # 1 to -1
    return np.interp(turned, [-1.0, 1.0], [final, lr])


def surprise(logits, target):
    """-log p of one token: log Σ exp(s_k - s_target), written out."""
    gaps = [float(s) - float(logits[target]) for s in logits]
    top = max(gaps)
    return top + math.log(sum(math.exp(gap - top) for gap in gaps))


def arrays_of_a_gpt(l, D, V, L, bias, tied, attention_width=None):
    """The shape of every array of the model, one by one."""
    A = attention_width or D
    shapes = [(V, D), (L, D)]
    for _ in range(l):
        shapes += [(D, A), (D, A), (D, A), (A, D)]  # W_Q, W_K, W_V, W_O
        shapes += [(D, 4 * D), (4 * D, D)]
        shapes += [(D,), (D,)]  # the gains of the norms
        if bias:
            shapes += [(A,), (A,), (A,), (D,), (4 * D,), (D,), (D,), (D,)]
    shapes += [(D,), (D,)] if bias else [(D,)]  # the last norm
    return shapes if tied else [*shapes, (D, V)]


def numbers_in(shapes):
    return sum(math.prod(shape) for shape in shapes)


def tokens_of(pieces):
    """(x, y) of every token that counts, as integers, in all pieces."""
    pairs = [pair for x, y in pieces for pair in zip(x.ravel().tolist(), y.ravel().tolist())]
    return [(i, j) for i, j in pairs if j != IGNORED]


def large_batch(w, pieces):
    """Loss and gradient of the table of pairs, token by token, as if there were no pieces."""
    tokens = tokens_of(pieces)
    loss, gradient = 0.0, np.zeros_like(w)
    for i, j in tokens:
        for column in range(w.shape[1]):
            miss = w[i, column] - (column == j)
            loss += float(miss**2) / len(tokens)
            gradient[i, column] += 2 * miss / len(tokens)
    return loss, gradient


def weighted(w, pieces, shares):
    """The sum of the pieces' own losses and gradients, each times its share."""
    parts = [large_batch(w, [piece]) for piece in pieces]
    loss = sum(share * part[0] for part, share in zip(parts, shares))
    return loss, sum(share * part[1] for part, share in zip(parts, shares))


def ragged_pieces(rng, V, shapes, holes=0):
    """One piece of each shape; the last ``holes`` targets of piece 0 are IGNORED, and so on."""
    pieces = []
    for number, shape in enumerate(shapes):
        x, y = rng.integers(0, V, size=(2, *shape))
        y[:, shape[1] - holes * (number % 2) :] = IGNORED  # every other piece is padded
        pieces.append((x, y))
    return pieces


def clipped(gradient, max_norm, slip=None):
    if slip == "clip by row":
        return np.stack([clipped(row, max_norm) for row in gradient])
    if slip == "clip by entry":
        return np.clip(gradient, -max_norm, max_norm)
    length = sum(number**2 for number in gradient.ravel().tolist())
    length = length if slip == "squared" else math.sqrt(length)
    if slip == "not clipped" or (length <= max_norm and slip != "always scaled"):
        return gradient
    return gradient * (1 if slip == "to length 1" else max_norm) / length


def train_by_loops(w, batches, lr, warmup, final, max_norm, slip=None):
    losses = []
    for step, pieces in enumerate(batches):
        step += slip == "from 1"
        rate = lr if slip == "constant" else rate_by_angle(step, lr, len(batches), warmup, final)
        for part in [[piece] for piece in pieces] if slip == "piece by piece" else [pieces]:
            loss, gradient = large_batch(w, part)
            gradient = clipped(gradient, max_norm, slip)
            w = w + rate * gradient if slip == "uphill" else w - rate * gradient
        losses.append(large_batch(w, pieces)[0] if slip == "loss after" else loss)
    return w, losses


FROM_ZERO = "the first step has the rate 0 and is lost: warm-up starts at lr / warmup"
NO_FLOOR = "the cosine goes down to 0, not to the final rate"
COSINE_FROM_ZERO = "the cosine starts at step 0, not after the warm-up"
ADDED_ON_TOP = "the final rate is added to the cosine, whose height is lr and not lr − final"
RISES_TOO_LONG = "the rise is one step too long: it ends at step warmup − 1"
ALL_STEPS = "the cosine lasts for all steps, as if those of the warm-up came on top"
ENDS_EARLY = "the cosine ends at step steps − 1, one step early"
COSINE_AHEAD = "the cosine is one step ahead: at step warmup the rate is still lr"
SUM_OF_TOKENS = "the losses are added up, not averaged over the tokens"
IGNORED_COUNTS = "the mean divides by all tokens, also by those that are ignored"
MEAN_OF_TEXTS = "every text is averaged for itself first, so tokens of short texts count for more"
OVERFLOW = "the largest logit is not subtracted first, so that exp overflows"
OVERFLOW_NAN = OVERFLOW + ", and ∞ / ∞ is NaN"
NOT_OWN_LARGEST = "what is subtracted is not the row's own largest logit, and small rows underflow"
LOG_OF_ZERO = (
    "the log is taken of a probability that has become 0: −log p is not computed from logits"
)
HEADS_TIMES_WIDTH = "the width of attention is taken as n_h · H, not as D"
NO_LAST_NORM = "the last norm is not counted"
NO_BIASES = "the biases are not counted"
BIAS_ALWAYS = "biases are counted although there are none"
HEAD_TWICE = "the tied head is counted a second time"
NO_COPY = "the optimizer's float32 copy of the weights is forgotten"
HALF_MEANS = "m and v are counted with 2 bytes; the optimizer keeps float32"
PIECES_ALIKE = "every piece counts the same, so the tokens of short pieces count for more"
NOT_DIVIDED = "the pieces are added up without dividing"
BY_SIZE = "pieces are weighted by their size; tokens that are ignored must not count"
LAST_ONLY = "only the last piece is left: the gradients are not added up"
LOSS_UNWEIGHTED = "the gradient is weighted by tokens, but the loss is a plain mean of the pieces"
SQUARED_LENGTH = "the root is missing: the gradient is divided by its squared length"


def test_learning_rate_of_a_short_run_by_hand(answer):
    # Up to 8 in two steps: 4, 8. Then from 8 at step 2 to 2 at step 10, so 5 at step 6.
    for step, want in ((0, 4.0), (1, 8.0), (2, 8.0), (6, 5.0), (10, 2.0)):
        mistakes = {FROM_ZERO: 8.0 * step / 2}
        if step >= 2:
            mistakes = {
                RISES_TOO_LONG: 8.0 * (step + 1) / 2,
                NO_FLOOR: (want - 2) * 8 / 6,
                COSINE_FROM_ZERO: 5 + 3 * math.cos(math.pi * step / 10),
                ADDED_ON_TOP: 2 + (want - 2) * 8 / 6,
                ALL_STEPS: 5 + 3 * math.cos(math.pi * (step - 2) / 10),
                ENDS_EARLY: 5 + 3 * math.cos(math.pi * (step - 2) / 7),
                COSINE_AHEAD: 5 + 3 * math.cos(math.pi * (step - 1) / 8),
            }
        expect(answer.learning_rate(step, lr=8.0, steps=10, warmup=2, final=2.0), want, mistakes)


def test_learning_rate_follows_half_a_cosine_after_the_warm_up(answer):
    lr, steps, warmup, final = 6e-4, 30, 7, 1e-4

    def cosine(turned):
        return final + (lr - final) * (1 + math.cos(turned)) / 2

    for step in range(steps + 1):
        progress = (step - warmup) / (steps - warmup)
        mistakes = {
            NO_FLOOR: rate_by_angle(step, lr, steps, warmup, 0.0),
            COSINE_FROM_ZERO: cosine(math.pi * step / steps),
            ADDED_ON_TOP: final + rate_by_angle(step, lr, steps, warmup, 0.0),
            "the rate falls in a straight line, not along a cosine": lr + (final - lr) * progress,
            RISES_TOO_LONG: lr * (step + 1) / warmup,
            ALL_STEPS: cosine(math.pi * (step - warmup) / steps),
            ENDS_EARLY: cosine(math.pi * (step - warmup) / (steps - warmup - 1)),
            COSINE_AHEAD: cosine(math.pi * (step + 1 - warmup) / (steps - warmup)),
            "the angle is not multiplied by π": cosine(progress),
        }
        if step < warmup:
            mistakes = {FROM_ZERO: lr * step / warmup, "there is no warm-up": lr}
        expect(
            answer.learning_rate(step, lr=lr, steps=steps, warmup=warmup, final=final),
            float(rate_by_angle(step, lr, steps, warmup, final)),
            mistakes,
        )


def test_learning_rate_stays_at_the_final_rate_after_the_last_step(answer):
    settings = dict(lr=4.0, steps=50, warmup=8, final=1.0)
    expect(answer.learning_rate(29, **settings), 2.5)  # in the middle
    for step in (50, 51, 75, 92, 5000):
        rises = 2.5 + 1.5 * math.cos(math.pi * (step - 8) / 42)
        expect(
            answer.learning_rate(step, **settings),
            1.0,
            mistakes={
                "the cosine goes on after the last step, and the rate rises again": rises,
                "after the last step the rate is 0, not the final one": 0.0,
            },
        )


def test_learning_rate_without_warm_up_starts_at_the_top(answer):
    for step, want in ((0, 3.0), (2, 2.0), (4, 1.0)):
        expect(answer.learning_rate(step, lr=3.0, steps=4, warmup=0, final=1.0), want)


def test_cross_entropy_of_two_tokens_by_hand(answer):
    # The targets have the probabilities 1/4 and 1/2; in bits that would be 2 and 1.
    logits = np.log([[0.5, 0.25, 0.25], [0.375, 0.125, 0.5]]) + [[1.0], [-2.0]]
    expect(
        answer.cross_entropy(logits, np.array([1, 2])),
        1.5 * math.log(2),
        mistakes={
            SUM_OF_TOKENS: 3 * math.log(2),
            "the sign is missing: the loss is −log p": -1.5 * math.log(2),
            "the loss is measured in bits, not in nats": 1.5,
            "the log is missing": -0.375,
            "the logits are taken for logs of probabilities, without a softmax": (
                -(logits[0, 1] + logits[1, 2]) / 2
            ),
        },
    )


def test_cross_entropy_is_the_mean_over_all_tokens_of_all_texts(answer, rng):
    for shape, V in (((6,), 3), ((2, 5), 4), ((3, 1, 2), 7)):
        logits, targets = rng.normal(size=(*shape, V)), rng.integers(0, V, size=shape)
        rows, ids = logits.reshape(-1, V), targets.ravel().tolist()
        losses = [surprise(row, target) for row, target in zip(rows, ids)]
        powers = np.exp(rows)
        together = powers / powers.sum(axis=0)  # normalised over the tokens
        expect(
            answer.cross_entropy(logits, targets),
            math.fsum(losses) / len(losses),
            mistakes={
                SUM_OF_TOKENS: math.fsum(losses),
                "the sum is divided by V as well": math.fsum(losses) / rows.size,
                "the loss is summed over a text and averaged over texts only": (
                    math.fsum(losses) / shape[0]
                ),
                "the softmax runs over the tokens, not over the vocabulary": -np.mean(
                    [math.log(row[target]) for row, target in zip(together, ids)]
                ),
            },
        )


def test_ignored_targets_do_not_count(answer, rng):
    B, L, V = 3, 5, 4
    logits, targets = rng.normal(size=(B, L, V)), rng.integers(0, V, size=(B, L))
    for b, length in enumerate((5, 1, 3)):  # each text ends in padding
        targets[b, length:] = IGNORED
    texts = []  # the losses of each text
    for b in range(B):
        counted = [i for i in range(L) if targets[b, i] != IGNORED]
        texts.append([surprise(logits[b, i], targets[b, i]) for i in counted])
    total = math.fsum(loss for text in texts for loss in text)
    padding = [surprise(row, 0) for row in logits[targets == IGNORED]]
    last = [surprise(row, V - 1) for row in logits[targets == IGNORED]]
    expect(
        answer.cross_entropy(logits, targets),
        total / 9,
        mistakes={
            IGNORED_COUNTS: total / 15,
            MEAN_OF_TEXTS: sum(sum(text) / len(text) for text in texts) / B,
            "ignored targets are taken for token 0": (total + sum(padding)) / 15,
            "ignored targets are taken for the last token": (total + sum(last)) / 15,
            SUM_OF_TOKENS: total,
        },
    )


def test_cross_entropy_of_large_logits_neither_overflows_nor_loses_the_loss(answer):
    # Row 0: four alike, log 4. Row 1: two alike, and the target 1000 below them: 1000 + log 2.
    alike, far = [1000.0] * 4, [0.0, 0.0, -1000.0, -1100.0]
    expect(
        answer.cross_entropy(np.array([alike]), np.array([3])),
        math.log(4),
        mistakes={OVERFLOW: math.inf, OVERFLOW_NAN: math.nan},
    )
    expect(
        answer.cross_entropy(np.array([far]), np.array([2])),
        1000 + math.log(2),
        mistakes={LOG_OF_ZERO: math.inf, NOT_OWN_LARGEST: -math.inf}
        | {
            f"a small number, {small}, keeps p from 0, so that a large loss is cut off": (
                -math.log(small)
            )
            for small in (1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15, 1e-16, 1e-20, 1e-30, 1e-300)
        },
    )
    expect(
        answer.cross_entropy(np.array([alike, far]) + [[0.0], [-900.0]], np.array([3, 2])),
        (math.log(4) + 1000 + math.log(2)) / 2,
        mistakes={NOT_OWN_LARGEST: -math.inf},  # log 0, subtracted
    )
    expect(
        answer.cross_entropy(np.array([[150.0, 30.0]], dtype=np.float32), np.array([1])),
        120.0,  # + log(1 + exp(-120)), which is 0
        tolerance=1e-5,
    )


def test_parameters_of_a_tiny_gpt_by_hand(answer):
    # A layer: 4·4 for attention, 2·16 for the MLP, two gains of 2: 52. Token embedding 5·2,
    # positions 4·2, the last gain 2: 20 more.
    config = dict(l=1, D=2, n_h=1, H=2, V=5, L=4, bias=False, tied=True)
    expect(
        answer.parameter_count(config),
        72,
        mistakes={
            BIAS_ALWAYS: 96,
            "norms are not counted": 66,
            NO_LAST_NORM: 70,
            "the norms' biases are counted although there are none": 78,
            "positions are not counted": 64,
            HEAD_TWICE: 82,
            "the MLP is counted with (D, D) matrices; inside it is 4D wide": 48,
            "the MLP is counted with one matrix; it has two": 56,
        },
    )


def test_parameters_with_biases_agree_with_an_enumeration_of_all_arrays(answer):
    for l, D, n_h, V, L in ((2, 8, 2, 65, 16), (3, 48, 4, 100, 32), (12, 60, 5, 65, 64)):
        config = dict(l=l, D=D, n_h=n_h, H=D // n_h, V=V, L=L, bias=True, tied=True)
        want = numbers_in(arrays_of_a_gpt(l, D, V, L, bias=True, tied=True))
        expect(
            answer.parameter_count(config),
            want,
            mistakes={
                NO_BIASES: numbers_in(arrays_of_a_gpt(l, D, V, L, bias=False, tied=True)),
                NO_LAST_NORM: want - 2 * D,
                "of the last norm only the gain is counted": want - D,
                "the norms' biases are not counted": want - 2 * l * D - D,
                "the first bias of the MLP has 4D numbers, not D": want - 3 * l * D,
                HEAD_TWICE: want + V * D,
                "positions are not counted": want - L * D,
                "only 12 l D² is counted": 12 * l * D**2,
            },
        )


def test_a_head_of_its_own_is_one_more_matrix_without_a_bias(answer):
    for bias in (False, True):
        config = dict(l=2, D=12, n_h=3, H=4, V=50, L=7, bias=bias, tied=False)
        want = numbers_in(arrays_of_a_gpt(2, 12, 50, 7, bias, tied=False))
        expect(
            answer.parameter_count(config),
            want,
            mistakes={
                "the head's own matrix is not counted": want - 600,
                "the head has no bias": want + 50,
                (NO_BIASES if bias else BIAS_ALWAYS): numbers_in(
                    arrays_of_a_gpt(2, 12, 50, 7, not bias, tied=False)
                ),
            },
        )


def test_parameters_of_the_eight_sizes_of_gpt_3(answer):
    table = {  # published, l, D, n_h, H: Table 2.1 as it is printed
        "Small": (125e6, 12, 768, 12, 64),
        "Medium": (350e6, 24, 1024, 16, 64),
        "Large": (760e6, 24, 1536, 16, 96),
        "XL": (1.3e9, 24, 2048, 24, 128),
        "2.7B": (2.7e9, 32, 2560, 32, 80),
        "6.7B": (6.7e9, 32, 4096, 32, 128),
        "13B": (13.0e9, 40, 5140, 40, 128),
        "175B": (175.0e9, 96, 12288, 96, 128),
    }
    for published, l, D, n_h, H in table.values():
        config = dict(l=l, D=D, n_h=n_h, H=H, V=50_257, L=2048, bias=True, tied=True)
        shapes = (l, D, 50_257, 2048, True, True)
        got = answer.parameter_count(config)
        expect(
            got,
            numbers_in(arrays_of_a_gpt(*shapes)),
            mistakes={
                HEADS_TIMES_WIDTH: numbers_in(arrays_of_a_gpt(*shapes, attention_width=n_h * H)),
                NO_BIASES: numbers_in(arrays_of_a_gpt(l, D, 50_257, 2048, False, True)),
                "only 12 l D² is counted": 12 * l * D**2,
            },
        )
        expect(abs(got - published) < 0.02 * published, True)  # what is printed is rounded


def test_bytes_to_store_a_model(answer):
    for dtype, size in (("float32", 4), ("float16", 2), ("bfloat16", 2)):
        expect(
            answer.memory_bytes(175_000_000_000, dtype),
            {"weights": size * 175_000_000_000},  # 700 GB as float32
            mistakes={
                "all weights are counted with 4 bytes": {"weights": 700_000_000_000},
                "the size is given in bits": {"weights": 8 * size * 175_000_000_000},
                "gradients are counted, but nothing is trained": {
                    "weights": size * 175_000_000_000,
                    "gradients": size * 175_000_000_000,
                },
            },
        )


def test_bytes_to_train_in_float32(answer):
    for optimizer, means in (("sgd", ""), ("momentum", "m"), ("adam", "mv")):
        want = {"weights": 84, "gradients": 84} | dict.fromkeys(means, 84)
        expect(
            answer.memory_bytes(21, "float32", optimizer),
            want,
            mistakes={
                "float32 weights need no copy": want | {"float32 copy": 84},
                "the gradients are forgotten": {k: v for k, v in want.items() if k != "gradients"},
                "all optimizers keep m and v, but only Adam does": want | {"m": 84, "v": 84},
            },
        )


def test_bytes_to_train_in_mixed_precision(answer):
    for dtype in ("float16", "bfloat16"):
        for optimizer, means in (("sgd", ""), ("momentum", "m"), ("adam", "mv")):
            store = {"weights": 26, "gradients": 26}
            want = store | {"float32 copy": 52} | dict.fromkeys(means, 52)
            expect(
                answer.memory_bytes(13, dtype, optimizer),
                want,
                mistakes={
                    NO_COPY: store | dict.fromkeys(means, 52),
                    HALF_MEANS: store | {"float32 copy": 52} | dict.fromkeys(means, 26),
                    "the gradients are counted with 4 bytes": want | {"gradients": 52},
                    "the copy is counted with 2 bytes": want | {"float32 copy": 26},
                },
            )
    for dtype in ("float32", "bfloat16"):  # no difference: 16 bytes a parameter, 2,800 GB
        parts = answer.memory_bytes(175_000_000_000, dtype, "adam")
        expect(sum(parts.values()), 16 * 175_000_000_000)


def test_a_short_piece_counts_for_less_by_hand(answer):
    # Piece one: token 0, then 1. The row (1, 0) should be (0, 1): it misses by (1, -1), so the loss
    # is 2 and the gradient (2, -2). Piece two: three times token 1, then 0. The row (0, 0) should
    # be (1, 0): loss 1, gradient (-2, 0). Of four tokens, piece one holds a quarter.
    w = np.array([[1.0, 0.0], [0.0, 0.0]])
    pieces = [
        (np.array([[0]]), np.array([[1]])),
        (np.array([[1, 1, 1]]), np.array([[0, 0, 0]])),
    ]
    expect(
        answer.accumulate(w, pieces, given("table_of_pairs", 3)),
        (1.25, np.array([[0.5, -0.5], [-1.5, 0.0]])),
        mistakes={
            PIECES_ALIKE: (1.5, np.array([[1.0, -1.0], [-1.0, 0.0]])),
            LOSS_UNWEIGHTED: (1.5, np.array([[0.5, -0.5], [-1.5, 0.0]])),
            "the gradient is weighted by tokens, but the losses are added up": (
                3.0,
                np.array([[0.5, -0.5], [-1.5, 0.0]]),
            ),
            NOT_DIVIDED: (3.0, np.array([[2.0, -2.0], [-2.0, 0.0]])),
            LAST_ONLY: (1.0, np.array([[0.0, 0.0], [-2.0, 0.0]])),
            "losses and gradients are multiplied by tokens, but not divided by all of them": (
                5.0,
                np.array([[2.0, -2.0], [-6.0, 0.0]]),
            ),
        },
    )


def test_equal_pieces_give_the_loss_and_gradient_of_the_large_batch(answer, rng):
    V, shapes = 4, [(2, 3)] * 5
    w, pieces = rng.normal(size=(V, V)), ragged_pieces(rng, V, shapes)
    whole = tuple(np.concatenate([piece[part] for piece in pieces]) for part in (0, 1))  # (10, 3)
    want = large_batch(w, [whole])
    mistakes = {
        NOT_DIVIDED: lambda: weighted(w, pieces, [1] * 5),
        LAST_ONLY: lambda: weighted(w, pieces, [0, 0, 0, 0, 1]),
        "the gradient is divided by the number of pieces, the loss is not": lambda: (
            5 * want[0],
            want[1],
        ),
        "the loss is divided by the number of pieces, the gradient is not": lambda: (
            want[0],
            5 * want[1],
        ),
        "the gradient is divided by the number of tokens once more": lambda: (
            want[0],
            want[1] / 30,
        ),
    }
    expect(answer.accumulate(w, pieces, given("table_of_pairs", 6)), want, mistakes)
    expect(answer.accumulate(w, [whole], given("table_of_pairs", 30)), want)


def test_ragged_pieces_give_the_loss_and_gradient_of_the_large_batch(answer, rng):
    V, shapes = 5, [(2, 6), (1, 3), (3, 4), (2, 1)]
    w, pieces = rng.normal(size=(V, V)), ragged_pieces(rng, V, shapes)
    want = large_batch(w, pieces)
    expect(
        answer.accumulate(w, pieces, given("table_of_pairs", 12)),
        want,
        mistakes={
            PIECES_ALIKE: lambda: weighted(w, pieces, [1 / 4] * 4),
            LOSS_UNWEIGHTED: lambda: (weighted(w, pieces, [1 / 4] * 4)[0], want[1]),
            NOT_DIVIDED: lambda: weighted(w, pieces, [1] * 4),
            "pieces are weighted by how many texts they hold, not how many tokens": (
                lambda: weighted(w, pieces, [2 / 8, 1 / 8, 3 / 8, 2 / 8])
            ),
        },
    )


def test_only_tokens_that_count_weigh_in(answer, rng):
    V, shapes = 5, [(2, 3), (1, 7), (4, 2), (3, 5)]  # 6 + 7 + 8 + 15 tokens
    w, pieces = rng.normal(size=(V, V)), ragged_pieces(rng, V, shapes, holes=1)
    counts = [6, 6, 8, 12]
    expect(
        answer.accumulate(w, pieces, given("table_of_pairs", 15)),
        large_batch(w, pieces),
        mistakes={
            BY_SIZE: lambda: weighted(w, pieces, [size / 36 for size in (6, 7, 8, 15)]),
            PIECES_ALIKE: lambda: weighted(w, pieces, [1 / 4] * 4),
            IGNORED_COUNTS: lambda: weighted(w, pieces, [count / 36 for count in counts]),
        },
    )


def test_a_piece_of_padding_alone_is_left_out(answer, rng):
    V = 3
    w, pieces = rng.normal(size=(V, V)), ragged_pieces(rng, V, [(2, 2), (1, 3)])
    padding = rng.integers(0, V, size=(2, 4)), np.full((2, 4), IGNORED)
    expect(
        answer.accumulate(w, [pieces[0], padding, pieces[1]], given("table_of_pairs", 8)),
        large_batch(w, pieces),
        mistakes={
            "a weight of 0 times NaN is NaN: a piece that counts nothing has to be skipped": (
                math.nan,
                np.full((V, V), math.nan),
            ),
            "pieces after the padding are left out as well": lambda: large_batch(w, pieces[:1]),
        },
    )


def test_one_step_of_training_by_hand(answer):
    # One token, 0 then 1, so the gradient is 2·(0 - 0, 0 - 1) = (0, -2) in row 0. Its length is 2,
    # clipped to 1. The run has one step, and its rate is lr: (0, 0) - 3·(0, -1) = (0, 3).
    w = np.array([[0.0, 0.0], [5.0, 7.0]])
    batches = [[(np.array([[0]]), np.array([[1]]))]]
    expect(
        answer.train(
            w, batches, given("table_of_pairs", 1), lr=3.0, warmup=0, final=0.5, max_norm=1.0
        ),
        (np.array([[0.0, 3.0], [5.0, 7.0]]), [1.0]),
        tolerance=CLIPPING,
        mistakes={
            SQUARED_LENGTH: (np.array([[0.0, 1.5], [5.0, 7.0]]), [1.0]),
            "the gradient is not clipped": (np.array([[0.0, 6.0], [5.0, 7.0]]), [1.0]),
            "the step goes uphill": (np.array([[0.0, -3.0], [5.0, 7.0]]), [1.0]),
            "the schedule is one step ahead: steps count from 0": (
                np.array([[0.0, 0.5], [5.0, 7.0]]),
                [1.0],
            ),
            "the loss is taken after the step, not before it": (
                np.array([[0.0, 3.0], [5.0, 7.0]]),
                [4.0],
            ),
        },
    )


def test_training_agrees_with_a_loop_over_tokens(answer, rng):
    V, shapes = 4, [(5, 6), (7, 4)]
    w = 2 * rng.normal(size=(V, V))
    batches = [ragged_pieces(rng, V, shapes, holes=1) for _ in range(7)]
    lengths = sorted(float(np.linalg.norm(large_batch(w, pieces)[1])) for pieces in batches)
    for max_norm in (lengths[0] / 3, 4 * lengths[-1]):  # first short, then out of reach
        settings = dict(lr=0.3, warmup=2, final=0.1, max_norm=max_norm)
        expect(
            answer.train(w, batches, given("table_of_pairs", 30), **settings),
            train_by_loops(w, batches, **settings),
            tolerance=CLIPPING,
            mistakes={
                words: lambda s=settings, slip=slip: train_by_loops(w, batches, **s, slip=slip)
                for words, slip in {
                    "the gradient is not clipped": "not clipped",
                    "each entry is clipped for itself, which turns the gradient": "clip by entry",
                    "each row is clipped for itself, which turns the gradient": "clip by row",
                    SQUARED_LENGTH: "squared",
                    "a step is taken after each piece, not after each batch": "piece by piece",
                    "a gradient that is short enough is stretched": "always scaled",
                    "a long gradient is scaled to length 1, not to max_norm": "to length 1",
                    "the schedule is one step ahead: steps count from 0": "from 1",
                    "the rate is the same at every step": "constant",
                    "the step goes uphill": "uphill",
                    "the loss is taken after the step, not before it": "loss after",
                }.items()
            },
        )


def test_the_large_batch_and_its_pieces_train_the_same_model(answer, rng):
    V = 4
    w, texts = rng.normal(size=(V, V)), rng.integers(0, V, size=(6, 9, 15))  # six batches
    whole = [[(batch[:, :-1], batch[:, 1:])] for batch in texts]  # the target is one ahead
    cut = [[(x[:2], y[:2]), (x[2:5], y[2:5]), (x[5:], y[5:])] for [(x, y)] in whole]
    settings = dict(lr=0.4, warmup=1, final=0.05, max_norm=0.5)
    want = train_by_loops(w, whole, **settings)
    got = answer.train(w, whole, given("table_of_pairs", 126), **settings)
    expect(got, want, tolerance=CLIPPING)
    expect(
        answer.train(w, cut, given("table_of_pairs", 56), **settings),
        want,
        tolerance=CLIPPING,
        mistakes={PIECES_ALIKE: lambda: pieces_alike_training(w, cut)},
    )


def pieces_alike_training(w, batches):
    losses = []
    for step, pieces in enumerate(batches):
        loss, gradient = weighted(w, pieces, [1 / len(pieces)] * len(pieces))
        gradient = gradient * min(1, 0.5 / np.linalg.norm(gradient))
        w = w - rate_by_angle(step, 0.4, len(batches), 1, 0.05) * gradient
        losses.append(loss)
    return w, losses


def test_a_trained_table_holds_the_shares_of_the_pairs(answer):
    # After 0 comes 1; after 1 comes 0 or 2, alike; after 2 comes 1.
    text = np.array([[0, 1, 2, 1, 0, 1, 2, 1, 0]])
    pieces = [(text[:, :5], text[:, 1:6]), (text[:, 5:8], text[:, 6:9])]
    settings = dict(lr=1.0, warmup=4, final=0.2, max_norm=10.0)
    start, model = np.zeros((3, 3)), given("table_of_pairs", 5)
    got, losses = answer.train(start, [pieces] * 80, model, **settings)
    expect(got, np.array([[0, 1, 0], [0.5, 0, 0.5], [0, 1, 0]]), tolerance=1e-6)
    expect([losses[0], losses[-1]], [1.0, 0.25], tolerance=1e-6)  # half the tokens miss by 1/2
