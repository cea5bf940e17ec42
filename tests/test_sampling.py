"""Filters and draws, against loops that say what they mean, and against transformers'."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import inference, nn
from minigrad.inference import Sample, filters
from minigrad.inference.sampling import draw
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


def test_top_k_keeps_what_equals_the_kth():
    logits = np.array([[1.0, 2, 3, 2], [0, 0, 0, 0]])
    assert kept(inference.top_k_filter(logits, 2)) == [[1, 2, 3], [0, 1, 2, 3]]


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


def test_top_p_looks_as_far_as_it_must_in_a_flat_distribution():
    logits = np.random.default_rng(0).normal(size=(2, 7000)) * [[0.01], [8.0]]
    flat, steep = kept(inference.top_p_filter(logits, 0.9))
    assert len(flat) > 6000 > 200 > len(steep)
    for row, ids in zip(filters.softmax(logits), (flat, steep)):
        assert row[ids].sum() >= 0.9 > row[ids].sum() - row[ids].min()


@pytest.mark.parametrize(
    ("p", "ids"),
    [(0.0, range(5)), (0.2, [0, 1, 2, 3]), (0.3, [1, 2, 3]), (0.76, [1]), (1.0, [1])],
)
def test_min_p_keeps_what_is_that_much_as_likely_as_the_likeliest(p, ids):
    assert kept(inference.min_p_filter(LOGITS, p)) == [list(ids)]


def test_rows_are_filtered_apart():
    logits = np.log([[0.9, 0.05, 0.05], [0.3, 0.4, 0.3]])
    assert kept(inference.top_p_filter(logits, 0.6)) == [[0], [0, 1]]
    assert kept(inference.min_p_filter(logits, 0.6)) == [[0], [0, 1, 2]]
    assert kept(inference.top_k_filter(logits - [[0, 0, 1], [1, 0, 0]], 1)) == [[0], [1]]


def test_the_repetition_penalty_lowers_every_token_of_the_text_once():
    logits = np.array([[2.0, -1.0, 0.5, 0.0, -3.0], [2.0, -1.0, 0.5, 0.0, -3.0]])
    before = logits.copy()
    lowered = inference.repetition_penalty(logits, [[0, 4, 0, 0], [1, 3]], 2.0)
    np.testing.assert_array_equal(lowered, [[1, -1, 0.5, 0, -6], [2, -2, 0.5, 0, -3]])
    np.testing.assert_array_equal(logits, before)


def by_hand(logits, text, temperature, top_k, top_p, min_p, repetition_penalty):
    """The distribution of one row, token by token."""
    logits = [
        (x / repetition_penalty if x > 0 else x * repetition_penalty) if i in text else x
        for i, x in enumerate(map(float, logits))
    ]
    weights = {i: np.exp(x / temperature) for i, x in enumerate(logits)}
    weights = {i: w for i, w in weights.items() if sum(v > w for v in weights.values()) < top_k}
    order, mass = sorted(weights, key=weights.get, reverse=True), 0.0
    needed = top_p * sum(weights.values())
    nucleus = {}
    for i in order:
        if mass < needed:
            nucleus[i] = weights[i]
            mass += weights[i]
    nucleus = {i: w for i, w in nucleus.items() if w >= min_p * max(nucleus.values())}
    return [nucleus.get(i, 0.0) / sum(nucleus.values()) for i in range(len(logits))]


def random_case(seed, vocabulary=37):
    """(logits (3, V), texts, settings)."""
    rng = np.random.default_rng(seed)
    settings = dict(
        temperature=float(rng.uniform(0.3, 2)),
        top_k=int(rng.integers(1, vocabulary + 5)),
        top_p=float(rng.uniform(0.1, 1)),
        min_p=float(rng.uniform(0, 0.3)),
        repetition_penalty=float(rng.uniform(0.5, 2)),
    )
    texts = [rng.integers(0, vocabulary, n) for n in (2, 11, 30)]
    return rng.normal(size=(3, vocabulary)) * 2.5, texts, settings


@pytest.mark.parametrize("seed", range(20))
def test_all_settings_together_give_the_distribution_made_by_hand(seed):
    logits, texts, settings = random_case(seed)
    expected = [by_hand(row, text, **settings) for row, text in zip(logits, texts)]
    ours = Sample(**settings).probabilities(logits, texts)
    np.testing.assert_allclose(ours, expected, rtol=1e-12, atol=1e-15)


def test_extreme_logits_and_temperatures_give_a_distribution():
    logits = np.array([[1e4, 1e4 - 1, -np.inf]])
    np.testing.assert_allclose(Sample().probabilities(logits)[0], [0.731059, 0.268941, 0], 1e-5)
    for temperature in (1e-320, 1e-5):
        assert Sample(temperature).probabilities(logits).tolist() == [[1, 0, 0]]
    np.testing.assert_allclose(Sample(1e300).probabilities(logits), [[0.5, 0.5, 0]])


class Always(nn.Module):
    """A model with the same logits (V,) everywhere."""

    def __init__(self, logits):
        self.logits = np.asarray(logits)

    def forward(self, ids):
        return mg.tensor(np.broadcast_to(self.logits, (*ids.shape, len(self.logits))))


def chi_square(draws, probabilities):
    """Pearson's statistic of draws, over its 0.999 quantile (Wilson and Hilferty 1931)."""
    expected = np.asarray(probabilities) * len(draws)
    counts = np.bincount(draws, minlength=len(expected))
    if counts[expected == 0].any():
        return np.inf
    possible = expected > 0
    freedom = possible.sum() - 1
    statistic = ((counts - expected)[possible] ** 2 / expected[possible]).sum()
    quantile = freedom * (1 - 2 / (9 * freedom) + 3.09 * np.sqrt(2 / (9 * freedom))) ** 3
    return statistic / quantile


LIKELY = np.log([0.09, 0.02, 0.21, 0.05, 0.17, 0.01, 0.14, 0.03, 0.28])
SETTINGS = [
    {},
    {"temperature": 0.6},
    {"top_k": 4},
    {"top_p": 0.85},
    {"min_p": 0.15},
    {"temperature": 1.7, "top_k": 7, "top_p": 0.9, "min_p": 0.3},
]


def distribution(temperature=1.0, top_k=99, top_p=1.0, min_p=0.0):
    return by_hand(LIKELY, [], temperature, top_k, top_p, min_p, 1.0)


@pytest.mark.parametrize("settings", SETTINGS)
def test_100_000_draws_follow_the_distribution(settings):
    prompts = np.zeros((1000, 1), np.int64)
    how = Sample(**settings, seed=7)
    texts = inference.generate(Always(LIKELY), prompts, 100, how, cache=False)
    draws = texts[:, 1:].ravel()
    assert chi_square(draws, distribution(**settings)) < 1
    # Rows and steps are drawn apart: so are pairs of neighbours, in both directions.
    pairs = np.outer(*[distribution(**settings)] * 2).ravel()
    for first, second in ((texts[:-1, 1:], texts[1:, 1:]), (texts[:, 1:-1], texts[:, 2:])):
        assert chi_square((9 * first[::2, ::2] + second[::2, ::2]).ravel(), pairs) < 1


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({}, {"temperature": 1.03}),
        ({"temperature": 0.6}, {"temperature": 0.62}),
        ({"top_k": 4}, {"top_k": 5}),
        ({"top_k": 4}, {"top_k": 3}),
        ({"top_p": 0.85}, {"top_p": 0.78}),
        ({"min_p": 0.15}, {"min_p": 0.2}),
    ],
)
def test_so_many_draws_tell_a_wrong_filter(settings, wrong):
    draws = draw(Sample(**settings).probabilities(np.tile(LIKELY, (100_000, 1))), rng(1))
    assert chi_square(draws, distribution(**settings)) < 1
    assert chi_square(draws, distribution(**wrong)) > 1


def rng(seed):
    return np.random.default_rng(seed)


def test_a_draw_is_the_token_in_whose_share_it_falls():
    class Draws:
        def random(self, shape):
            return np.reshape([0.0, 0.099, 0.1, 0.499, 0.5, 0.999], shape)

    shares = np.tile([0.0, 0.1, 0.4, 0.0, 0.5, 0.0], (6, 1))
    assert draw(shares, Draws()).tolist() == [1, 1, 2, 2, 4, 4]


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


def test_sampling_leaves_mode_and_recording_as_they_were():
    model = Successor().train()
    tokens = inference.stream(model, [3], 5, Sample(seed=0), cache=False)
    assert next(tokens) == 4
    assert model.training
    assert model.seen == [((1, 1), False)]
    x = mg.tensor([2.0], requires_grad=True)
    (x * x).sum().backward()
    assert x.grad.item() == 4.0


def test_a_window_sees_the_end_of_a_long_text_alone():
    model = GPT(GPTConfig(5, 4, 8, 2, 1), seed=0)
    ids = np.array([0, 1, 2, 3, 4, 0, 1])
    with mg.no_grad():
        likeliest = model(ids[None, -4:]).numpy()[0, -1].argmax()
    assert inference.sample(model, ids, 1, greedy=True)[-1] == likeliest
    assert inference.sample(model, ids, 6, seed=1).shape == (13,)
    window = inference.Window(model)
    tokens = list(inference.stream(window, ids, 6, Sample(seed=1), cache=False))
    assert tokens == inference.sample(model, ids, 6, seed=1)[7:].tolist()


def test_the_seed_decides_the_draws():
    model = GPT(GPTConfig(5, 4, 8, 2, 1), seed=0)
    texts = [inference.sample(model, [1], 30, seed=seed).tolist() for seed in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]
    mg.manual_seed(2)
    first = inference.sample(model, [1], 30).tolist()
    then = inference.sample(model, [1], 30).tolist()
    mg.manual_seed(2)
    assert inference.sample(model, [1], 30).tolist() == first != then


def test_a_strategy_draws_alike_each_time_it_is_used():
    model, how = GPT(GPTConfig(5, 40, 8, 2, 1), seed=0), Sample(1.3, seed=5)
    first, second = (inference.generate(model, [1], 30, how).tolist() for _ in range(2))
    assert first == second != inference.generate(model, [1], 30, Sample(1.3, seed=6)).tolist()
    assert inference.generate(model, [1], 30, how, cache=False).tolist() == first


def test_the_repetition_penalty_knows_what_was_written_and_no_padding():
    # Without padding, id 0 is in no text; each text avoids what it has.
    model = Always(np.array([5.0, 4, 3, 2, 1, 0.5]))
    how = Sample(top_k=1, repetition_penalty=100.0)
    texts = inference.generate(PaddedAlways(model), [[5, 4, 1], [0], [2, 3]], 3, how, cache=False)
    assert [text.tolist() for text in texts] == [
        [5, 4, 1, 0, 2, 3],
        [0, 1, 2, 3],
        [2, 3, 0, 1, 4],
    ]


class PaddedAlways(nn.Module):
    """Takes a mask, as models of prompts of different lengths do."""

    def __init__(self, model):
        self.model = model

    def forward(self, ids, mask=None):
        return self.model(ids)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": 0}, r"temperature is 0, expected a positive number; Greedy\(\) takes"),
        ({"temperature": -1.0}, "temperature is -1.0, expected a positive"),
        ({"temperature": np.inf}, "temperature is inf, expected a positive"),
        ({"temperature": np.nan}, "temperature is nan, expected a positive"),
        ({"top_k": 0}, "top_k is 0, expected an integer of at least 1"),
        ({"top_k": -3}, "top_k is -3, expected"),
        ({"top_p": 0.0}, r"top_p is 0.0, expected a number in \(0, 1\]"),
        ({"top_p": 1.5}, r"top_p is 1.5, expected a number in \(0, 1\]"),
        ({"top_p": np.nan}, "top_p is nan"),
        ({"min_p": -0.1}, "min_p is -0.1, expected a number from 0 to 1"),
        ({"min_p": 1.1}, "min_p is 1.1, expected"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0.0, expected a positive number"),
        ({"repetition_penalty": -2}, "repetition_penalty is -2, expected a positive"),
        ({"seed": -1}, "expected non-negative integer"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Sample(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"temperature": "hot"}, "temperature is 'hot', expected a number"),
        ({"top_k": 2.5}, "top_k is 2.5, expected an integer"),
        ({"top_p": True}, "top_p is True, expected a number"),
        ({"min_p": [0.1]}, "min_p is"),
        ({"repetition_penalty": 1j}, "repetition_penalty is 1j, expected a number"),
    ],
)
def test_settings_of_another_kind_are_named(settings, message):
    with pytest.raises(TypeError, match=message):
        Sample(**settings)


def test_a_strategy_shows_its_settings():
    assert repr(Sample(0.8, top_p=0.9, seed=0)) == "Sample(temperature=0.8, top_p=0.9, seed=0)"


# Against transformers


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "ours", "values"),
    [
        ("TopKLogitsWarper", inference.top_k_filter, [1, 50, 49_152]),
        ("TopPLogitsWarper", inference.top_p_filter, [0.01, 0.5, 0.9, 0.9999]),
        ("MinPLogitsWarper", inference.min_p_filter, [0.0, 0.01, 0.5, 1.0]),
    ],
)
def test_a_filter_equals_the_processor_of_transformers(name, ours, values):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    logits = rng(3).normal(size=(3, 49_152)) * [[0.5], [3.0], [9.0]]
    for value in values:
        theirs = getattr(transformers, name)(value)(None, torch.tensor(logits)).numpy()
        np.testing.assert_array_equal(ours(logits, value), theirs, err_msg=str(value))


@pytest.mark.reference
@pytest.mark.parametrize("seed", range(8))
def test_the_distribution_equals_what_transformers_draws_from(seed):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    logits, texts, settings = random_case(seed, vocabulary=60)
    sizes = dict(hidden_size=12, num_attention_heads=2, num_hidden_layers=1, intermediate_size=8)
    torch.manual_seed(seed)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=60, **sizes))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += torch.randn_like(parameter) * 0.7
    out = model.generate(
        torch.tensor(texts[1])[None],
        max_new_tokens=4,
        do_sample=True,
        eos_token_id=None,
        pad_token_id=0,
        return_dict_in_generate=True,
        output_scores=True,
        output_logits=True,
        **settings,
    )
    how = Sample(**settings)
    for n, (logits, scores) in enumerate(zip(out.logits, out.scores)):
        text = out.sequences.numpy()[:, : len(texts[1]) + n]
        theirs = torch.softmax(scores.double(), -1).numpy()
        np.testing.assert_allclose(how.probabilities(logits.numpy(), text), theirs, 0, 1e-6)
