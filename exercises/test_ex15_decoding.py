"""Tests of exercise 15: decoding, from logits to a token, and from tokens to the best text."""

import itertools
import math

import numpy as np

from minigrad.course.testing import expect

INF = math.inf

# The references below go through rows and tokens one by one, and sort with Python's own sort.


def softmax_of_a_row(row, temperature=1.0):
    top = max(row)
    weights = [math.exp((z - top) / temperature) for z in row]
    return [w / sum(weights) for w in weights]


def by_rows(f, x):
    """f of each row of x (..., V), in a table of the same shape and dtype."""
    rows = [f([float(z) for z in row]) for row in x.reshape(-1, x.shape[-1])]
    return np.array(rows).reshape(x.shape).astype(x.dtype)


def softmax_of_rows(logits, temperature):
    return by_rows(lambda row: softmax_of_a_row(row, temperature), logits)


def best_first(row):
    """The ids of a row's tokens, the largest first, of equal ones the lower id."""
    return sorted(range(len(row)), key=lambda i: (-row[i], i))


def kept(row, ids, others=-INF):
    return [z if i in ids else others for i, z in enumerate(row)]


def largest_of_rows(logits, k, others=-INF):
    return by_rows(lambda row: kept(row, best_first(row)[:k], others), logits)


def largest_of_all(logits, k):
    flat = logits.ravel().tolist()
    return np.reshape(kept(flat, best_first(flat)[:k]), logits.shape).astype(logits.dtype)


def nucleus(row, p, order=None, slip=None):
    """The ids of the tokens that top-p keeps. ``slip`` names a mistake to make."""
    order = order or best_first(row)
    probabilities, mass, ids = softmax_of_a_row(row), 0.0, []
    for i in order:
        if slip == "one short" and ids and mass + probabilities[i] >= p:
            break
        ids.append(i)
        mass += probabilities[i]
        if mass >= p:
            break
    return ids


def nucleus_of_rows(logits, p, slip=None):
    order = range(logits.shape[-1]) if slip == "unsorted" else None
    return by_rows(lambda row: kept(row, nucleus(row, p, order, slip)), logits)


def overflowing(logits, temperature):
    """The softmax as it is written, without care for what floats can hold."""
    with np.errstate(all="ignore"):
        weights = np.exp(logits / temperature)
        return weights / weights.sum(axis=-1, keepdims=True)


WRONG_AXIS = "the softmax runs along the wrong axis"
TOO_LARGE = "the largest logit of the row is not subtracted first, so that exp overflows"
NOT_OWN_LARGEST = "what is subtracted is not the row's own largest logit, and small rows underflow"
MULTIPLIED = "the logits are multiplied by the temperature, not divided by it"
NO_TEMPERATURE = "the temperature changes nothing"
AFTER_EXP = "the temperature comes after exp, when small probabilities have become 0 already"
UNSTABLE = 'argsort keeps equal ones in order only with kind="stable"'
READ_BACKWARDS = "a sorted order that is read backwards turns equal ones round"
ANY_OF_EQUALS = "argpartition does not say which of equal ones it takes"
ZERO_FOR_INFINITY = "the others become 0, not −∞: a logit of 0 is no small one"
TIES_KEPT = "all logits equal to the k-th largest are kept, so that more than k remain"
SMALLEST = "the k smallest are kept, not the k largest"
ALL_ROWS_TOGETHER = "the k largest are looked for in all rows together, not in each"
TIES_KEPT_TOO = "tokens as likely as the last one of the set are kept too: it is not the smallest"
LATER_OF_EQUALS = "of equal logits the later ones are kept, not those with the lower index"
ONE_SHORT = "the token that brings the mass to p is left out: the set's mass is less than p"
ONE_MORE = "a token is kept although the mass before it is p already"
UNSORTED = "tokens are taken in by their ids, not the likeliest first"
UNSORTED_SHORT = "the tokens are not taken in the order of their probabilities"
NOT_PUT_BACK = "the mask is in the order of the sorted tokens, not put back to their places"
PROBABILITIES = "probabilities are returned, not logits"
EACH_ALONE = "each probability is compared with p alone, instead of the mass of the set"
END_BELONGS = "where two tokens meet, u falls on the one that ends there, not on the next"
NOWHERE = "a line that ends before 1 leaves u on no token, and that gives token 0"
BEHIND_THE_END = "a line that ends before 1 leaves u behind the last token"
LAST_ONE = "a u behind the line's end gives the last id, although its probability is 0"
LIKELIEST = "it is always the likeliest token: u is not used"
SORTED_LINE = "the tokens lie on the line in another order than that of their ids"
SCORES_LEFT_OUT = "the scores of the beams so far are not added"
ONE_A_BEAM = "each beam goes on by its own best token, instead of the best of all continuations"
UNORDERED = "the chosen ones are right, but not in order: the highest score comes first"
WORST = "the lowest scores are chosen: log probabilities are negative, and the best is nearest 0"
IMPOSSIBLE = "continuations with a score of −∞ are chosen"
WRONG_DIVISOR = "a place in the flat table is split into row and token by b; a row has V places"
OTHER_OF_EQUALS = "of equal scores the later place is chosen, not the lower row and token"
NOT_SET_ASIDE = "texts that end in stop go on, as if they were not complete"
OWN_TEXT = "beam i keeps its own text, instead of the text of the row that it goes on from"
GREEDY = "only one text is followed, as if n_beams were 1: equal beams stay equal"
ONLY_LAST_STEP = "the scores are those of the last step alone, not of the whole text"
NO_PENALTY = "the scores are not divided by n ** length_penalty"
RETURNED_UNDIVIDED = "the text is right, but its score is returned without n ** length_penalty"
CHOSEN_UNDIVIDED = "the best text is chosen before the scores are divided by n ** length_penalty"
TIMES_LENGTH = "the scores are multiplied by n ** length_penalty, not divided by it"
START_COUNTS = "start is counted among the n new tokens"
STOP_NOT_COUNTED = "stop is not counted among the n new tokens"
FIRST_COMPLETE = "the search ends with the first complete text, although others may be better"
FIRST_COMPLETE_OR_LEFT = "the search ends with the first complete text; beams have to go on"
AS_GOOD = "the search ends when a complete text is as likely as the best beam, which may still win"
AS_GOOD_DIVIDED = "the search ends when a complete text scores as much as the best beam does so far"
NARROWED = "the beam is narrower by each complete text; every step chooses n_beams anew"
UNFINISHED_LOST = "texts without stop at the end of the search are left out"
COMPLETE_LOST = "complete texts are forgotten when others are left after the last step"
WITH_START = "the text is returned with start"
REFILLED = "stop takes no place among the n_beams chosen; here complete ones do take one"


def test_distribution_of_two_rows_by_hand(answer):
    # At temperature 1/2 the ratios 1 : 3 and 2 : 1 are squared, at 1 they are as they are.
    logits = np.array([[0.0, math.log(3)], [math.log(2), 0.0]])
    expect(
        answer.distribution(logits, 1.0),
        np.array([[1 / 4, 3 / 4], [2 / 3, 1 / 3]]),
        mistakes={
            WRONG_AXIS: np.array([[1 / 3, 3 / 4], [2 / 3, 1 / 4]]),
            "all rows together sum to 1, not each": np.array([[1 / 7, 3 / 7], [2 / 7, 1 / 7]]),
            "the powers are not divided by their sum": np.array([[1.0, 3.0], [2.0, 1.0]]),
        },
    )
    root_of_3, root_of_2 = math.sqrt(3), math.sqrt(2)
    root = [[1 / (1 + root_of_3), root_of_3 / (1 + root_of_3)]]
    root += [[root_of_2 / (1 + root_of_2), 1 / (1 + root_of_2)]]
    expect(
        answer.distribution(logits, 0.5),
        np.array([[1 / 10, 9 / 10], [4 / 5, 1 / 5]]),
        mistakes={
            MULTIPLIED: np.array(root),
            NO_TEMPERATURE: np.array([[1 / 4, 3 / 4], [2 / 3, 1 / 3]]),
            WRONG_AXIS: np.array([[1 / 5, 9 / 10], [4 / 5, 1 / 10]]),
        },
    )


def test_distribution_treats_each_row_for_itself_at_any_temperature(answer, rng):
    for shape, dtype in (((7,), "float64"), ((3, 5), "float32"), ((2, 3, 4), "float64")):
        logits = rng.normal(size=shape).astype(dtype)
        for temperature in (0.3, 1.0, 2.5):
            expect(
                answer.distribution(logits, temperature),
                softmax_of_rows(logits, temperature),
                mistakes={
                    MULTIPLIED: softmax_of_rows(logits, 1 / temperature),
                    NO_TEMPERATURE: softmax_of_rows(logits, 1.0),
                },
            )


def test_distribution_of_logits_of_any_size(answer):
    # Only distances within a row count: 1 : 3 at temperature 2 is what 1 : 9 is at 1.
    near = np.array([[0.0, -INF, math.log(9)], [math.log(16), 0.0, 0.0]])
    want = np.array([[1 / 4, 0.0, 3 / 4], [2 / 3, 1 / 6, 1 / 6]])
    for far in (np.array([[1000.0], [-1000.0]]), np.array([[-2e4], [2e4]])):
        logits = near + far
        expect(
            answer.distribution(logits, 2.0),
            want,
            mistakes={
                TOO_LARGE: overflowing(logits, 2.0),
                NOT_OWN_LARGEST: overflowing(logits - logits.max(), 2.0),
                MULTIPLIED: np.array(
                    [[1 / 82, 0.0, 81 / 82], [256 / 258, 1 / 258, 1 / 258]],
                ),
            },
        )
    ratio = math.exp(-1500 / 1000)
    expect(
        answer.distribution(np.array([0.0, -1500.0]), 1000.0),
        np.array([1.0, ratio]) / (1 + ratio),
        mistakes={AFTER_EXP: np.array([1.0, 0.0])},
    )


def test_the_three_largest_of_five_by_hand(answer):
    expect(
        answer.top_k(np.array([2.5, -1.0, 5.0, 3.0, -4.0]), 3),
        np.array([2.5, -INF, 5.0, 3.0, -INF]),
        mistakes={
            SMALLEST: np.array([2.5, -1.0, -INF, -INF, -4.0]),
            ZERO_FOR_INFINITY: np.array([2.5, 0.0, 5.0, 3.0, 0.0]),
            "k + 1 are kept": np.array([2.5, -1.0, 5.0, 3.0, -INF]),
            "k − 1 are kept": np.array([-INF, -INF, 5.0, 3.0, -INF]),
            NOT_PUT_BACK: np.array([2.5, -1.0, 5.0, -INF, -INF]),
            "the kept logits are sorted": np.array([5.0, 3.0, 2.5, -INF, -INF]),
        },
    )


def test_exactly_k_are_kept_of_equal_logits(answer, rng):
    logits = np.array([[1.0, 3.0, 1.0, 1.0, 0.0], [2.0, 2.0, -1.0, 2.0, 2.0]])
    expect(
        answer.top_k(logits, 3),
        np.array([[1.0, 3.0, 1.0, -INF, -INF], [2.0, 2.0, -INF, 2.0, -INF]]),
        mistakes={
            TIES_KEPT: np.array([[1.0, 3.0, 1.0, 1.0, -INF], [2.0, 2.0, -INF, 2.0, 2.0]]),
            LATER_OF_EQUALS: np.array([[-INF, 3.0, 1.0, 1.0, -INF], [-INF, 2.0, -INF, 2.0, 2.0]]),
        },
    )
    for _ in range(3):  # many equal ones, which a sort may exchange
        logits = rng.permutation(np.repeat([2.0, 1.0, 0.0], (9, 17, 14)))
        for k in (5, 15, 30):
            unsorted = np.argpartition(-logits, k)[:k].tolist()
            expect(
                answer.top_k(logits, k),
                largest_of_rows(logits, k),
                mistakes={
                    TIES_KEPT: np.where(logits >= np.sort(logits)[-k], logits, -INF),
                    LATER_OF_EQUALS: largest_of_rows(logits[::-1], k)[::-1].copy(),
                    UNSTABLE: kept_by(logits, np.argsort(-logits)[:k]),
                    READ_BACKWARDS: kept_by(logits, np.argsort(logits)[::-1][:k]),
                    ANY_OF_EQUALS: np.array(kept(logits.tolist(), unsorted)),
                },
            )


def kept_by(logits, ids):
    return np.array(kept(logits.tolist(), ids.tolist()))


def test_top_k_treats_each_row_for_itself(answer, rng):
    for shape, dtype in (((9,), "float32"), ((4, 6), "float64"), ((2, 3, 5), "float64")):
        logits = rng.normal(size=shape).astype(dtype)
        logits[..., 1] = -INF
        for k in (1, 2, shape[-1]):
            got = answer.top_k(logits, k)
            if k == shape[-1]:  # all are kept
                expect(got + 1, logits + 1)
                continue
            expect(
                got,
                largest_of_rows(logits, k),
                mistakes={
                    ALL_ROWS_TOGETHER: largest_of_all(logits, k),
                    ZERO_FOR_INFINITY: largest_of_rows(logits, k, others=0.0),
                },
            )


def test_top_p_of_four_tokens_by_hand(answer):
    # Probabilities 0.05, 0.3, 0.15 and 0.5. The likeliest are 0.5, then 0.3: together 0.8.
    logits = np.log([0.05, 0.3, 0.15, 0.5])
    a, b, c, d = logits
    cases = {0.7: [-INF, b, -INF, d], 0.9: [-INF, b, c, d], 0.45: [-INF, -INF, -INF, d]}
    one_short = {0.7: [-INF, -INF, -INF, d], 0.9: [-INF, b, -INF, d]}
    by_ids = {0.7: [a, b, c, d], 0.9: [a, b, c, d], 0.45: [a, b, c, -INF]}
    by_ids_short = {0.7: [a, b, c, -INF], 0.9: [a, b, c, -INF], 0.45: [a, b, -INF, -INF]}
    not_back = {0.7: [a, b, -INF, -INF], 0.9: [a, b, c, -INF], 0.45: [a, -INF, -INF, -INF]}
    for p, want in cases.items():
        expect(
            answer.top_p(logits, p),
            np.array(want),
            mistakes={
                ONE_SHORT: np.array(one_short.get(p, [-INF] * 4)),
                UNSORTED: np.array(by_ids[p]),
                UNSORTED_SHORT: np.array(by_ids_short[p]),
                NOT_PUT_BACK: np.array(not_back[p]),
                ZERO_FOR_INFINITY: np.where(np.isfinite(want), want, 0.0),
                PROBABILITIES: np.where(np.isfinite(want), np.exp(logits), 0.0),
                "probabilities are returned, of a new sum 1, not logits": np.exp(want)
                / np.exp(want).sum(),
                EACH_ALONE: np.where(np.exp(logits) >= p, logits, -INF),
                "each probability is compared with 1 − p alone": np.where(
                    np.exp(logits) >= 1 - p, logits, -INF
                ),
            },
        )


def ids_up_to(logits, p):
    """The tokens whose running mass, in the order of their ids, is at most p."""
    mass = by_rows(lambda row: list(itertools.accumulate(softmax_of_a_row(row))), logits)
    return np.where(mass <= p, logits, -INF)


def test_top_p_stops_as_soon_as_the_mass_is_p(answer, rng):
    # Probabilities of exactly 1/4: two of them are exactly 1/2, and that is enough.
    logits = np.array([[1.5, 1.5, 1.5, 1.5, -INF], [-2.0, -INF, -2.0, -2.0, -2.0]])
    two = np.array([[1.5, 1.5, -INF, -INF, -INF], [-2.0, -INF, -2.0, -INF, -INF]])
    three = np.array([[1.5, 1.5, 1.5, -INF, -INF], [-2.0, -INF, -2.0, -2.0, -INF]])
    every = {TIES_KEPT_TOO: logits}
    one = np.array([[1.5, -INF, -INF, -INF, -INF], [-2.0, -INF, -INF, -INF, -INF]])
    later = np.array([[-INF, -INF, 1.5, 1.5, -INF], [-INF, -INF, -INF, -2.0, -2.0]])
    expect(
        answer.top_p(logits, 0.5),
        two,
        mistakes=every | {ONE_MORE: three, ONE_SHORT: one, LATER_OF_EQUALS: later},
    )
    expect(answer.top_p(logits, 0.55), three, mistakes=every | {ONE_SHORT: two})
    for _ in range(3):  # many equal ones, which a sort may exchange
        logits = rng.permutation(np.repeat([2.0, 1.0, 0.0], (9, 17, 14)))
        for k in (5, 15, 30):  # p lies between the masses of k − 1 and of k tokens
            likeliest = softmax_of_a_row(sorted(logits.tolist(), reverse=True))
            p = sum(likeliest[:k]) - likeliest[k - 1] / 2
            expect(
                answer.top_p(logits, p),
                largest_of_rows(logits, k),
                mistakes={
                    TIES_KEPT_TOO: np.where(logits >= np.sort(logits)[-k], logits, -INF),
                    LATER_OF_EQUALS: largest_of_rows(logits[::-1], k)[::-1].copy(),
                    UNSTABLE: kept_by(logits, np.argsort(-logits)[:k]),
                    READ_BACKWARDS: kept_by(logits, np.argsort(logits)[::-1][:k]),
                    UNSORTED: nucleus_of_rows(logits, p, "unsorted"),
                    UNSORTED_SHORT: ids_up_to(logits, p),
                },
            )


def test_top_p_treats_each_row_for_itself(answer, rng):
    for shape, dtype in (((12,), "float32"), ((3, 8), "float64"), ((2, 2, 6), "float64")):
        logits = (2 * rng.normal(size=shape)).astype(dtype)
        for p in (0.2, 0.6, 0.95):
            # p is moved away from every mass of a set, where rounding would decide
            rows = logits.astype(float).reshape(-1, shape[-1])
            masses = [np.cumsum(sorted(softmax_of_a_row(row.tolist()))[::-1]) for row in rows]
            while np.abs(np.concatenate(masses) - p).min() < 1e-4:
                p += 3e-4
            expect(
                answer.top_p(logits, p),
                nucleus_of_rows(logits, p),
                mistakes={
                    ONE_SHORT: nucleus_of_rows(logits, p, "one short"),
                    UNSORTED: nucleus_of_rows(logits, p, "unsorted"),
                    UNSORTED_SHORT: ids_up_to(logits, p),
                },
            )


def test_a_draw_from_a_line_of_quarters_by_hand(answer):
    # Token 0 lies from 0 to 1/4, token 1 to 3/4, token 2 to 1; where two meet, the later begins.
    u = np.array([0.0, 0.2, 0.25, 0.7, 0.75, 0.999])
    lines = np.tile([0.25, 0.5, 0.25], (6, 1))
    expect(
        answer.draw(lines, u),
        np.array([0, 0, 1, 1, 2, 2]),
        mistakes={
            END_BELONGS: np.array([0, 0, 0, 1, 1, 2]),
            LIKELIEST: np.full(6, 1),
            SORTED_LINE: np.array([1, 1, 1, 0, 0, 2]),
            "ids are counted from 1": np.array([1, 1, 2, 2, 3, 3]),
            "a probability is compared with u, instead of the running sum": np.array(
                [0, 0, 1, 0, 0, 0]
            ),
        },
    )


def test_a_token_without_probability_is_never_drawn(answer):
    lines = np.array([[0.0, 0.5, 0.0, 0.5], [0.0, 0.5, 0.0, 0.5], [0.0, 0.0, 1.0, 0.0]])
    expect(
        answer.draw(lines, np.array([0.0, 0.5, 0.0])),
        np.array([1, 3, 2]),
        mistakes={END_BELONGS: np.array([0, 1, 0])},
    )


def test_every_u_falls_on_a_token_although_sums_are_rounded(answer):
    # In float32 the running sums of 33 times 1/33 end at 0.9999995, before the first u.
    u = np.array([0.9999998, 0.55])
    equal = np.full((2, 33), 1 / 33, np.float32)
    expect(
        answer.draw(equal, u),
        np.array([32, 18]),
        mistakes={NOWHERE: np.array([0, 18]), BEHIND_THE_END: np.array([33, 18])},
    )
    with_impossible = np.concatenate([equal, np.zeros((2, 2), np.float32)], axis=1)
    expect(
        answer.draw(with_impossible, u),
        np.array([32, 18]),
        mistakes={
            NOWHERE: np.array([0, 18]),
            BEHIND_THE_END: np.array([35, 18]),
            LAST_ONE: np.array([34, 18]),
        },
    )
    # The running sums of ten times 0.1 end at 0.9999999999999999, which is also the largest u.
    largest = np.array([np.nextafter(1.0, 0.0)])
    expect(
        answer.draw(np.full((1, 10), 0.1), largest),
        np.array([9]),
        mistakes={
            "u, printed as 1, is the largest float below 1; it falls on no token": np.array([0]),
            "u, printed as 1, is the largest float below 1; it falls behind the end": np.array(
                [10]
            ),
        },
    )


def test_draws_of_any_shape_have_the_right_shares(answer, rng):
    # Points in the middle of a thousand equal pieces: each token gets its share, to one piece.
    weights = rng.uniform(0.2, 1.0, size=(2, 1, 5))
    probabilities = np.broadcast_to(weights / weights.sum(-1, keepdims=True), (2, 1000, 5)).copy()
    u = np.broadcast_to(rng.permutation((np.arange(1000) + 0.5) / 1000), (2, 1000)).copy()
    want = np.zeros((2, 1000), np.int64)
    for row, i in itertools.product(range(2), range(1000)):
        end = 0.0
        for token in range(5):
            end += float(probabilities[row, 0, token])
            if u[row, i] < end:
                want[row, i] = token
                break
    likeliest = np.broadcast_to(weights.argmax(-1), (2, 1000)).copy()
    expect(answer.draw(probabilities, u), want, mistakes={LIKELIEST: likeliest})
    expect(answer.draw(np.array([0.0, 0.25, 0.5, 0.25]), np.array(0.6)), np.int64(2))


def the_best(continuations, n_beams):
    """(rows, tokens, scores) of the first so many (row, token, score)."""
    rows, tokens, scores = zip(*list(continuations)[:n_beams])
    return np.array(rows), np.array(tokens), np.array(scores)


def test_a_step_of_two_beams_by_hand(answer):
    # Sums: beam 0 has −4, −3.5, −2, beam 1 has −2.5, −11, −6.
    scores = np.array([-1.0, -2.0])
    log_p = np.array([[-3.0, -2.5, -1.0], [-0.5, -9.0, -4.0]])
    right = [(0, 2, -2.0), (1, 0, -2.5), (0, 1, -3.5)]
    wrong = {
        SCORES_LEFT_OUT: [(1, 0, -0.5), (0, 2, -1.0), (0, 1, -2.5)],
        "they are ordered by log_p alone": [(1, 0, -2.5), (0, 2, -2.0), (0, 1, -3.5)],
        WORST: [(1, 1, -11.0), (1, 2, -6.0), (0, 0, -4.0)],
        "rows and tokens are exchanged": [(2, 0, -2.0), (0, 1, -2.5), (1, 0, -3.5)],
        WRONG_DIVISOR: [(0, 1, -2.0), (1, 1, -2.5), (1, 0, -3.5)],
    }
    for n_beams in (1, 3):
        mistakes = {words: the_best(chosen, n_beams) for words, chosen in wrong.items()}
        mistakes[UNORDERED] = the_best(right[:n_beams][::-1], n_beams)
        expect(answer.beam_step(scores, log_p, n_beams), the_best(right, n_beams), mistakes)


def test_a_good_beam_goes_on_several_times(answer):
    # All three best continuations are those of row 1; rows 0 and 2 die.
    scores = np.array([-9.0, -1.0, -8.0])
    log_p = np.array([[-0.1, -3.0, -4.0, -5.0], [-1.5, -2.0, -1.0, -7.0], [-0.2, -3.0, -2.0, -4.0]])
    want = np.array([1, 1, 1]), np.array([2, 0, 1]), np.array([-2.0, -2.5, -3.0])
    expect(
        answer.beam_step(scores, log_p, 3),
        want,
        mistakes={
            ONE_A_BEAM: (np.array([1, 2, 0]), np.array([2, 0, 0]), np.array([-2.0, -8.2, -9.1])),
            SCORES_LEFT_OUT: (
                np.array([0, 2, 1]),
                np.array([0, 0, 2]),
                np.array([-0.1, -0.2, -1.0]),
            ),
            UNORDERED: (np.array([1, 1, 1]), np.array([0, 1, 2]), np.array([-2.5, -3.0, -2.0])),
            WRONG_DIVISOR: (np.array([2, 1, 1]), np.array([0, 1, 2]), np.array([-2.0, -2.5, -3])),
        },
    )


def test_impossible_continuations_are_never_chosen(answer):
    scores = np.array([-1.0, -2.0])
    log_p = np.array([[-INF, -1.0, -INF], [-0.5, -INF, -INF]])
    expect(
        answer.beam_step(scores, log_p, 4),
        (np.array([0, 1]), np.array([1, 0]), np.array([-2.0, -2.5])),
        mistakes={
            IMPOSSIBLE: (
                np.array([0, 1, 0, 0]),
                np.array([1, 0, 0, 2]),
                np.array([-2.0, -2.5, -INF, -INF]),
            )
        },
    )


def test_a_step_agrees_with_a_sort_of_all_continuations(answer, rng):
    for b, V, n_beams in ((1, 6, 4), (3, 5, 2), (4, 7, 9), (2, 2, 50), (3, 14, 25)):
        scores = np.sort(-rng.integers(0, 6, size=b) / 2.0)[::-1].copy()  # halves, so that
        log_p = -rng.integers(1, 8, size=(b, V)) / 2.0  # sums are exact, and some are equal
        places = list(itertools.product(range(b), range(V)))
        all_of_them = [(i, j, float(scores[i] + log_p[i, j])) for i, j in places]
        right = sorted(all_of_them, key=lambda each: (-each[2], each[0], each[1]))
        total = scores[:, None] + log_p
        sorts = {
            UNSTABLE: np.argsort(-total, axis=None),
            READ_BACKWARDS: np.argsort(total, axis=None)[::-1],
        }
        alone = [max(all_of_them[i * V : i * V + V], key=lambda each: each[2]) for i in range(b)]
        later = sorted(all_of_them, key=lambda each: (-each[2], -each[0], -each[1]))
        expect(
            answer.beam_step(scores, log_p, n_beams),
            the_best(right, n_beams),
            mistakes={
                OTHER_OF_EQUALS: the_best(later, n_beams),
                UNORDERED: the_best(sorted(right[:n_beams]), n_beams),
                ONE_A_BEAM: the_best(sorted(alone, key=lambda each: -each[2]), n_beams),
            }
            | {words: from_places(order, total, n_beams) for words, order in sorts.items()},
        )


def from_places(places, total, n_beams):
    """(rows, tokens, scores) of the first so many places in the table as one long row."""
    first = places[:n_beams]
    return first // total.shape[1], first % total.shape[1], total.ravel()[first]


def continuations(beams, table, slip):
    """All (text, score) that are one token longer, the best first."""
    found = []
    for text, score in beams:
        for token, log_p in enumerate(table[text[-1]].tolist()):
            if slip == NOT_SET_ASIDE or log_p > -INF:
                before = 0.0 if slip == ONLY_LAST_STEP else score
                found.append(((*text, token), before + log_p))
    return sorted(found, key=lambda each: -each[1])


def searched(table, start, stop, n_beams, max_new_tokens, length_penalty, slip=None):
    """The beam search of the exercise, with tuples. ``slip`` names a mistake to make."""
    beams, complete, ended = [((start,), 0.0)], [], False
    for _ in range(max_new_tokens):
        found = continuations(beams, table, slip)
        width = {GREEDY: 1, NARROWED: n_beams - len(complete)}.get(slip, n_beams)
        if slip == REFILLED:
            going_on = [each for each in found if each[0][-1] != stop][:width]
            chosen = [each for each in found[:width] if each[0][-1] == stop] + going_on
        else:
            chosen = found[: max(width, 0)]
        if slip == OWN_TEXT:
            texts = [text for text, _ in beams] + [beams[-1][0]] * len(chosen)
            chosen = [((*own, text[-1]), s) for own, (text, s) in zip(texts, chosen)]
        ends = [slip != NOT_SET_ASIDE and text[-1] == stop for text, _ in chosen]
        complete += itertools.compress(chosen, ends)
        beams = [each for each, end in zip(chosen, ends) if not end]
        ended = bool(beams and complete) and ends_early(complete, beams, length_penalty, slip)
        if not beams or ended:
            break
    lost = slip == UNFINISHED_LOST or (ended and slip != FIRST_COMPLETE_OR_LEFT)
    candidates = complete if lost else complete + beams
    if slip == COMPLETE_LOST and beams:
        candidates = beams
    judged = [(of_length(text, s, stop, length_penalty, slip), text) for text, s in candidates]
    best, text = max(judged, key=lambda each: each[0], default=(0.0, (start,)))
    if slip in (RETURNED_UNDIVIDED, CHOSEN_UNDIVIDED):
        n = (len(text) - 1) ** length_penalty
        best = best * n if slip == RETURNED_UNDIVIDED else best / n
    return list(text) if slip == WITH_START else list(text[1:]), best


def ends_early(complete, beams, length_penalty, slip):
    """Whether a search with this slip stops although there are beams left."""
    alpha = length_penalty if slip == AS_GOOD_DIVIDED else 0.0
    best, live = (max(s / (len(t) - 1) ** alpha for t, s in each) for each in (complete, beams))
    as_good = slip in (AS_GOOD, AS_GOOD_DIVIDED) and best >= live
    return as_good or slip in (FIRST_COMPLETE, FIRST_COMPLETE_OR_LEFT)


def of_length(text, score, stop, length_penalty, slip):
    n = len(text) - (slip != START_COUNTS)
    if slip == STOP_NOT_COUNTED and text[-1] == stop:
        n = max(n - 1, 1)
    if slip in (NO_PENALTY, CHOSEN_UNDIVIDED):
        return score
    return score * n**length_penalty if slip == TIMES_LENGTH else score / n**length_penalty


# Where several slips come to one answer, the first of them is named.
SLIPS = [NOT_SET_ASIDE, OWN_TEXT, ONLY_LAST_STEP, NO_PENALTY, RETURNED_UNDIVIDED, CHOSEN_UNDIVIDED]
SLIPS += [TIMES_LENGTH, START_COUNTS, STOP_NOT_COUNTED, WITH_START, COMPLETE_LOST, UNFINISHED_LOST]
SLIPS += [NARROWED, FIRST_COMPLETE, FIRST_COMPLETE_OR_LEFT, AS_GOOD, AS_GOOD_DIVIDED, REFILLED]
SLIPS += [GREEDY]


def slips(*arguments):
    """The mistakes {words: what comes of them}, to be worked out where they are needed."""
    return {words: lambda words=words: searched(*arguments, slip=words) for words in SLIPS}


def random_table(rng, V):
    """(V, V) log probabilities with a few tokens that hold most of the mass of each row."""
    weights = rng.gamma(0.7, size=(V, V)) + 0.02
    return np.log(weights / weights.sum(axis=1, keepdims=True))


def test_two_beams_find_the_text_that_greedy_misses(answer):
    # From 0: token 1 has 0.5, token 2 has 0.46. After 1 nothing is likely, after 2 token 3 is.
    table = np.log(
        [
            [0.02, 0.5, 0.46, 0.02],
            [0.27, 0.23, 0.25, 0.25],
            [0.02, 0.36, 0.02, 0.6],
            [0.25, 0.25, 0.25, 0.25],
        ]
    )
    greedy, best = [1, 0], [2, 3]
    greedy_score, best_score = math.log(0.5 * 0.27), math.log(0.46 * 0.6)
    for n_beams, want in ((1, (greedy, greedy_score)), (2, (best, best_score))):
        arguments = (table, 0, 3, n_beams, 2, 0.0)
        expect(answer.beam_search(*arguments), want, mistakes=slips(*arguments))


def test_the_length_penalty_lets_longer_texts_win(answer):
    # [2, 3] has 0.7 · 0.35 = 0.245; [2, 1, 3] has 0.7 · 0.4 · 0.8 = 0.224, but in three tokens.
    table = np.log(
        [
            [0.05, 0.1, 0.7, 0.15],
            [0.1, 0.05, 0.05, 0.8],
            [0.15, 0.4, 0.1, 0.35],
            [0.25, 0.25, 0.25, 0.25],
        ]
    )
    long = math.log(0.7 * 0.4 * 0.8)
    cases = {0.0: ([2, 3], math.log(0.245)), 1.0: ([2, 1, 3], long / 3), 2.0: ([2, 1, 3], long / 9)}
    for length_penalty, want in cases.items():
        arguments = (table, 0, 3, 3, 4, length_penalty)
        expect(answer.beam_search(*arguments), want, mistakes=slips(*arguments))
    # [2, 3] has 0.45 · 0.35 = 0.1575; [1, 1, 1, 1] has 0.3 · 0.5 · 0.5 · 0.5, but in four tokens.
    table = np.log(
        [
            [0.1, 0.3, 0.45, 0.15],
            [0.1, 0.5, 0.2, 0.2],
            [0.2, 0.05, 0.4, 0.35],
            [0.25, 0.25, 0.25, 0.25],
        ]
    )
    for length_penalty, want in (
        (0.0, ([2, 3], math.log(0.1575))),
        (1.0, ([1] * 4, math.log(0.0375) / 4)),
    ):
        arguments = (table, 0, 3, 3, 4, length_penalty)
        expect(answer.beam_search(*arguments), want, mistakes=slips(*arguments))


def test_complete_texts_do_not_go_on_and_the_search_may_end_early(answer):
    # Everything ends at once: after 0 comes 1 or 2, after both comes stop, 3, for sure.
    table = np.full((4, 4), -INF)
    table[0, 1:3] = np.log([0.3, 0.7])
    table[1:3, 3] = 0.0
    table[3, 0] = 0.0
    arguments = (table, 0, 3, 2, 50, 0.5)
    want = [2, 3], math.log(0.7) / math.sqrt(2)
    expect(answer.beam_search(*arguments), want, mistakes=slips(*arguments))


def test_texts_without_stop_count_after_the_last_step(answer):
    # stop, 2, has 0.1 in each step, so that nothing better than [0, 0, 0] is complete.
    table = np.log([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.5, 0.25, 0.25]])
    for start, token, p in ((0, 0, 0.8), (1, 1, 0.7)):
        arguments = (table, start, 2, 2, 3, 1.0)
        want = [token] * 3, math.log(p)
        expect(answer.beam_search(*arguments), want, mistakes=slips(*arguments))


def test_with_room_for_all_texts_the_search_finds_the_best_of_all(answer, rng):
    for length_penalty in (0.0, 0.8, 1.5):
        table, start, stop, steps = random_table(rng, 4), 1, 2, 4
        every = []
        for n in range(1, steps + 1):
            for text in itertools.product(range(4), repeat=n):
                if stop not in text[:-1] and (n == steps or text[-1] == stop):
                    pairs = zip((start, *text), text)
                    score = sum(float(table[pair]) for pair in pairs)
                    every.append((score / n**length_penalty, list(text)))
        score, text = max(every)
        arguments = (table, start, stop, 4**steps, steps, length_penalty)
        expect(answer.beam_search(*arguments), (text, score), mistakes=slips(*arguments))


def test_a_narrow_beam_agrees_with_a_search_by_lists(answer, rng):
    for n_beams, length_penalty in ((1, 1.0), (2, 0.0), (3, 1.0), (4, 1.3)):
        for _ in range(4):
            arguments = (random_table(rng, 6), 4, 5, n_beams, 6, length_penalty)
            want = searched(*arguments)
            expect(answer.beam_search(*arguments), want, mistakes=slips(*arguments))
