"""Filters and draws on distributions whose answer is known."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import inference, nn
from minigrad.inference.sampling import choose, softmax, stream
from minigrad.models import GPT, GPTConfig

#: probabilities 0.1, 0.4, 0.15, 0.3, 0.05
LOGITS = np.log([[0.1, 0.4, 0.15, 0.3, 0.05]])


def kept(filtered):
    return [np.flatnonzero(np.isfinite(row)).tolist() for row in filtered]


@pytest.mark.parametrize(("k", "ids"), [(1, [1]), (3, [1, 2, 3]), (5, range(5)), (99, range(5))])
def test_top_k_keeps_the_k_largest(k, ids):
    filtered = inference.top_k_filter(LOGITS, k)
    assert kept(filtered) == [list(ids)]
    np.testing.assert_array_equal(filtered[0, list(ids)], LOGITS[0, list(ids)])


def test_top_k_keeps_exactly_k_of_equal_logits():
    assert kept(inference.top_k_filter(np.array([[1.0, 2, 2, 2], [0, 0, 0, 0]]), 2)) == [
        [1, 2],
        [0, 1],
    ]


@pytest.mark.parametrize(
    ("p", "ids"),
    [
        (0.01, [1]),
        (0.39, [1]),
        (0.41, [1, 3]),
        (0.69, [1, 3]),
        (0.71, [1, 2, 3]),
        (0.96, range(5)),
        (1.0, range(5)),
    ],
)
def test_top_p_keeps_the_smallest_set_with_that_mass(p, ids):
    assert kept(inference.top_p_filter(LOGITS, p)) == [list(ids)]


def test_top_p_keeps_no_token_beyond_a_mass_that_is_reached_exactly():
    assert kept(inference.top_p_filter(np.log([[0.5, 0.25, 0.25]]), 0.5)) == [[0]]
    assert kept(inference.top_p_filter(np.log([[0.25, 0.5, 0.25]]), 0.75)) == [[0, 1]]


def test_rows_are_filtered_apart():
    logits = np.log([[0.9, 0.05, 0.05], [0.3, 0.4, 0.3]])
    assert kept(inference.top_p_filter(logits, 0.6)) == [[0], [0, 1]]


def test_draws_follow_the_tempered_and_filtered_distribution():
    rng = np.random.default_rng(0)
    many = np.repeat(LOGITS, 20_000, axis=0)
    draws = choose(many, rng, temperature=0.5, top_k=3)
    weights = np.array([0, 0.16, 0.0225, 0.09, 0])  # p squared, the best three
    share = np.bincount(draws, minlength=5) / len(many)
    np.testing.assert_allclose(share, weights / weights.sum(), atol=0.01)
    assert share[[0, 4]].sum() == 0


def test_greedy_takes_the_first_of_the_likeliest():
    assert choose(np.array([[1.0, 3, 3], [5, 1, 2]]), None, greedy=True).tolist() == [1, 0]


def test_softmax_survives_extremes():
    np.testing.assert_allclose(softmax(np.array([1e4, 1e4 - 1, -np.inf])).sum(), 1.0)


class Successor(nn.Module):
    """Always sure that id n is followed by n + 1, modulo 10; remembers the contexts it saw."""

    def __init__(self):
        self.seen = []

    def forward(self, ids):
        self.seen.append((ids.shape, self.training))
        return mg.tensor(50.0 * (np.arange(10) == (np.asarray(ids)[..., None] + 1) % 10))


def test_sampling_continues_one_prompt_or_several():
    model = Successor()
    assert inference.sample(model, [7, 8], 4, seed=0).tolist() == [7, 8, 9, 0, 1, 2]
    several = inference.sample(model, np.array([[1, 2], [5, 6]]), 3, greedy=True)
    assert several.tolist() == [[1, 2, 3, 4, 5], [5, 6, 7, 8, 9]]
    assert inference.sample(model, [4], 0).tolist() == [4]


def test_streaming_gives_each_token_as_it_comes():
    model = Successor()
    tokens = stream(model, [3], 100)
    assert [next(tokens), next(tokens)] == [4, 5]
    assert len(model.seen) == 2


def test_sampling_leaves_mode_and_recording_as_they_were():
    model = Successor().train()
    tokens = stream(model, [3], 5)
    next(tokens)
    assert model.training
    assert model.seen == [((1, 1), False)]
    x = mg.tensor([2.0], requires_grad=True)
    (x * x).sum().backward()
    assert x.grad.item() == 4.0


def test_a_long_context_is_cut_at_the_left():
    model = GPT(GPTConfig(5, 4, 8, 2, 1), seed=0)
    ids = np.array([0, 1, 2, 3, 4, 0, 1])
    longer = inference.sample(model, ids, 1, greedy=True)
    shorter = inference.sample(model, ids[-4:], 1, greedy=True)
    assert longer[-1] == shorter[-1]
    assert inference.sample(model, ids, 6, seed=1).shape == (13,)


def test_the_seed_decides_the_draws():
    model = GPT(GPTConfig(5, 4, 8, 2, 1), seed=0)
    texts = [inference.sample(model, [1], 30, seed=seed).tolist() for seed in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]
    mg.manual_seed(2)
    first = inference.sample(model, [1], 30).tolist()
    mg.manual_seed(2)
    assert inference.sample(model, [1], 30).tolist() == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 0}, "temperature must be positive, got 0; .* greedy=True"),
        ({"temperature": -1.0}, "temperature must be positive"),
        ({"top_k": 0}, "k must be at least 1, got 0"),
        ({"top_p": 0.0}, r"p must be in \(0, 1\], got 0.0"),
        ({"top_p": 1.5}, r"p must be in \(0, 1\], got 1.5"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        inference.sample(Successor(), [1], 2, **options)


def test_an_empty_prompt_and_broken_logits_are_refused():
    with pytest.raises(ValueError, match=r"L at least 1, got \(0,\)"):
        inference.sample(Successor(), [], 2)
    for row in ([0.0, np.nan], [0.0, np.inf], [-np.inf, -np.inf]):
        with pytest.raises(FloatingPointError, match="NaN or infinity"):
            choose(np.array([[1.0, 2.0], row]), np.random.default_rng(0))
