"""Continuing prompts: every form of prompts, with every cache and with none."""

import numpy as np
import pytest
from language_models import CONFIGS, LATENT, draw, ids_of

import minigrad as mg
from minigrad import nn
from minigrad.inference import Decoding, Greedy, KVCache, Run, Step, cache_for, generate, stream
from minigrad.models import GPT, GPTConfig, Llama

KINDS = {
    "GQA": CONFIGS["llama, tied, GQA 3"],
    "biases": CONFIGS["llama, MQA, biases"],
    "MLA": LATENT,
    "GPT-2": CONFIGS["gpt-2"],
}
MODEL = draw(KINDS["GQA"])
PROMPT = [3, 141, 59, 26]


@pytest.fixture(scope="module", params=KINDS)
def model(request, device):
    return draw(KINDS[request.param], "float64").to(device)


def greedily(model, prompt, n):
    """The definition: the whole text through the model, the likeliest token, and again."""
    ids = np.array(prompt)
    with mg.no_grad():
        for _ in range(n):
            ids = np.append(ids, model(ids[None]).numpy()[0, -1].argmax())
    return ids


def test_greedy_decoding_takes_the_likeliest_token_each_time(model):
    expected = greedily(model, PROMPT, 12)
    assert len(set(expected[4:])) > 1
    np.testing.assert_array_equal(generate(model, PROMPT, 12), expected)
    np.testing.assert_array_equal(generate(model, PROMPT, 12, Greedy()), expected)


def test_each_form_of_prompts_gives_its_own_form_of_texts(model):
    batch = ids_of(model.config, 3, 5)
    expected = np.stack([greedily(model, row, 6) for row in batch])
    for ids in (batch, batch.tolist(), batch.astype(np.int16), mg.tensor(batch)):
        texts = generate(model, ids, 6)
        if isinstance(ids, list):
            assert isinstance(texts, list)
            texts = np.stack(texts)
        assert texts.dtype == np.int64
        np.testing.assert_array_equal(texts, expected)
    for ids in (batch[0], batch[0].tolist(), tuple(batch[0]), mg.tensor(batch[0])):
        text = generate(model, ids, 6)
        assert text.dtype == np.int64
        np.testing.assert_array_equal(text, expected[0])


@pytest.mark.parametrize("lengths", [(7, 3, 1, 12), (1, 2), (5,)])
@pytest.mark.parametrize("cache", [None, False])
def test_prompts_of_different_lengths_go_on_as_if_alone(model, lengths, cache):
    prompts = [ids_of(model.config, 1, n, seed=n)[0] for n in lengths]
    texts = generate(model, prompts, 8, cache=cache)
    assert isinstance(texts, list)
    for prompt, text in zip(prompts, texts, strict=True):
        np.testing.assert_array_equal(text, greedily(model, prompt, 8))


def test_with_a_cache_or_without_the_tokens_are_the_same(model):
    expected = greedily(model, PROMPT, 10)
    cache = cache_for(model, 1, 13)
    for given in (None, False, cache):
        np.testing.assert_array_equal(generate(model, PROMPT, 10, cache=given), expected)
    assert cache.length == 13  # all but the last token, which no step has needed yet


def test_a_given_cache_holds_what_came_before(model):
    expected = greedily(model, PROMPT, 15)
    cache = cache_for(model, 1, 40)
    first = generate(model, PROMPT, 6, cache=cache)
    rest = generate(model, first[cache.length :], 9, cache=cache)
    np.testing.assert_array_equal(np.append(first[:9], rest), expected)


def test_a_batch_of_different_lengths_after_a_given_cache(model):
    past = ids_of(model.config, 2, 5)
    cache = cache_for(model, 2, 40)
    with mg.no_grad():
        model(past, cache=cache)
    prompts = [np.array([7]), np.array([9, 8, 7])]
    texts = generate(model, prompts, 6, cache=cache)
    for before, prompt, text in zip(past, prompts, texts):
        expected = greedily(model, np.append(before, prompt), 6)
        np.testing.assert_array_equal(text, expected[5:])


def test_each_new_token_passes_the_model_once(monkeypatch):
    seen, forward = [], Llama.forward

    def counted(self, ids, **options):
        seen.append(np.shape(ids))
        return forward(self, ids, **options)

    monkeypatch.setattr(Llama, "forward", counted)
    generate(MODEL, PROMPT, 5)
    assert seen == [(1, 4), (1, 1), (1, 1), (1, 1), (1, 1)]
    seen.clear()
    generate(MODEL, PROMPT, 3, cache=False)
    assert seen == [(1, 4), (1, 5), (1, 6)]


class Rule(nn.Module):
    """Sure of the next token, a function of the last, out of 10."""

    def __init__(self, rule):
        self.rule, self.seen = rule, []

    def forward(self, ids, mask=None):
        self.seen.append((np.asarray(ids).copy(), self.training))
        return mg.tensor(50.0 * (np.arange(10) == self.rule(np.asarray(ids))[..., None]))


COUNT = lambda ids: (ids + 1) % 10


def after(ids, n, stop=()):
    return generate(Rule(COUNT), ids, n, cache=False, stop=stop)


def test_a_text_ends_with_its_first_new_stop_token():
    assert after([2], 9, stop=5).tolist() == [2, 3, 4, 5]
    assert after([2], 9, stop=[8, np.int64(6)]).tolist() == [2, 3, 4, 5, 6]
    assert after([5, 2], 9, stop={5}).tolist() == [5, 2, 3, 4, 5]
    assert after([4], 9, stop=5).tolist() == [4, 5]
    assert after([2], 2, stop=5).tolist() == [2, 3, 4]
    assert after([2], 3, stop=77).tolist() == [2, 3, 4, 5]


def test_texts_of_a_batch_stop_each_for_itself():
    batch = np.array([[1, 2], [7, 4], [0, 9]])
    expected = [[1, 2, 3, 4, 5, 5], [7, 4, 5, 5, 5, 5], [0, 9, 0, 1, 2, 3]]
    assert after(batch, 4, stop=5).tolist() == expected
    expected = [[1, 2, 3, 4, 5], [7, 4, 5, 5, 5]]
    assert after(batch[:2], 9, stop=5).tolist() == expected
    texts = after([[2], [6, 6, 4], [8, 8]], 4, stop=5)
    assert [text.tolist() for text in texts] == [[2, 3, 4, 5], [6, 6, 4, 5], [8, 8, 9, 0, 1, 2]]


def test_no_model_is_called_once_all_texts_have_stopped():
    model = Rule(COUNT)
    generate(model, [[2], [3]], 50, cache=False, stop=5)
    assert len(model.seen) == 3


def test_a_stream_gives_each_token_as_soon_as_it_is_known():
    model = Rule(COUNT)
    tokens = stream(model, [7], 5, cache=False)
    assert model.seen == []
    assert [next(tokens), next(tokens)] == [8, 9] and len(model.seen) == 2
    assert list(tokens) == [0, 1, 2]
    assert all(type(t) is int for t in stream(model, [7], 2, cache=False))
    rows = list(stream(model, [[1], [2, 3]], 3, cache=False, stop=4))
    assert [row.tolist() for row in rows] == [[2, 4], [3, 4], [4, 4]]
    assert list(stream(model, [3], 9, cache=False, stop=4)) == [4]


def test_a_stream_gives_the_tokens_of_generate(model):
    text = generate(model, PROMPT, 7)
    assert list(stream(model, PROMPT, 7)) == text[4:].tolist()
    batch = ids_of(model.config, 2, 3)
    rows = np.stack(list(stream(model, batch, 7)), axis=1)
    np.testing.assert_array_equal(rows, generate(model, batch, 7)[:, 3:])


def test_no_new_tokens_give_the_prompts_back():
    assert generate(MODEL, PROMPT, 0).tolist() == PROMPT
    assert list(stream(MODEL, PROMPT, 0)) == []
    assert [text.tolist() for text in generate(MODEL, [[1], [2, 3]], 0)] == [[1], [2, 3]]


class Swapping(Decoding):
    """Greedy, but at each step the rows trade places, and at the first they are multiplied."""

    class Run(Run):
        streams = False

        def __init__(self, n):
            self.left = n

        def next(self, logits, texts):
            assert len(logits) == len(texts)
            first = len(texts) == 2
            rows = np.array([1, 0, 1]) if first else np.array([1, 2, 0])
            self.left -= 1
            return Step(logits.argmax(-1)[rows], rows, self.left == 0)

    def start(self, batch, max_new_tokens, stop):
        return self.Run(max_new_tokens)

    def __repr__(self):
        return "Swapping()"


@pytest.mark.parametrize("lengths", [(5, 5), (3, 6)])
@pytest.mark.parametrize("cached", [True, False])
def test_rows_may_change_places_and_number_at_each_step(model, lengths, cached):
    prompts = [ids_of(model.config, 1, n, seed=n + i)[0] for i, n in enumerate(lengths)]
    texts = generate(model, prompts, 5, Swapping(), cache=None if cached else False)
    one, other = (greedily(model, prompt, 5) for prompt in prompts)
    # [1, 0, 1], then four times round: by one place more than a full turn.
    for text, expected in zip(texts, [other, one, other][1:] + [other], strict=True):
        np.testing.assert_array_equal(text, expected)
    with pytest.raises(ValueError, match=r"Swapping\(\) knows its tokens only at the end"):
        stream(model, prompts, 5, Swapping())


# The model is left as it was


def test_dropout_is_off_while_writing_and_on_again_afterwards():
    config = GPTConfig(31, 24, 16, 2, 2, dropout=0.5)
    model = GPT(config, seed=0).train()
    model.blocks[1].eval()
    texts = [generate(model, [1, 2, 3], 12).tolist() for _ in range(2)]
    assert texts[0] == texts[1] == greedily(model.eval(), [1, 2, 3], 12).tolist()
    model.train()
    model.blocks[1].eval()
    tokens = stream(model, [1, 2, 3], 5)
    next(tokens)
    assert model.training and model.blocks[0].mlp.training and not model.blocks[1].training
    with pytest.raises(IndexError):
        generate(model, [99], 2)
    assert model.training and not model.blocks[1].training


def test_writing_records_nothing_and_stops_no_recording():
    x = mg.tensor([2.0], requires_grad=True)
    tokens = stream(MODEL, PROMPT, 3)
    next(tokens)
    (x * x).sum().backward()
    assert x.grad.item() == 4.0
    list(tokens)
    assert all(p.grad is None for p in MODEL.parameters())


# Refusals


@pytest.mark.parametrize("cache", [None, False])
def test_what_does_not_fit_into_the_context_is_refused_before_the_first_token(cache):
    context = MODEL.config.context_length
    ids = ids_of(MODEL.config, 1)[0]
    assert len(generate(MODEL, ids, 1, cache=cache)) == context + 1
    assert len(generate(MODEL, ids[:-4], 5, cache=cache)) == context + 1
    for n, new in ((context, 2), (context + 1, 1), (context - 4, 6)):
        message = f"a prompt of {n} and {new} new tokens do not fit into the model's context of 96"
        with pytest.raises(ValueError, match=message):
            stream(MODEL, np.resize(ids, n), new, cache=cache)
    with pytest.raises(ValueError, match="a prompt of 97 and 0 new tokens do not fit"):
        generate(MODEL, np.resize(ids, 97), 0, cache=cache)


def test_what_does_not_fit_into_a_given_cache_is_refused():
    cache = KVCache(MODEL, 1, 8)
    generate(MODEL, PROMPT, 3, cache=cache)
    assert cache.length == 6
    with pytest.raises(ValueError, match="6 tokens in the cache, a prompt of 1 and 3 new ones"):
        generate(MODEL, [1], 3, cache=cache)
    with pytest.raises(ValueError, match="2 prompts for a cache of batch 1"):
        generate(MODEL, [[1], [2]], 1, cache=cache)
    long = KVCache(MODEL, 1, 200)
    generate(MODEL, PROMPT, 90, cache=long)
    with pytest.raises(ValueError, match="93 tokens in the cache, a prompt of 1 and 4 new tokens"):
        generate(MODEL, [1], 4, cache=long)


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        ([], ValueError, "the prompt is empty; give it at least one token"),
        (np.zeros((2, 0), int), ValueError, "prompt 0 is empty"),
        (np.zeros((0, 2), int), ValueError, "there is no prompt"),
        ([[1, 2], []], ValueError, "prompt 1 is empty"),
        (3, ValueError, r"ids have shape \(\); expected \(L,\) or \(B, L\)"),
        (np.zeros((1, 2, 3), int), ValueError, r"ids have shape \(1, 2, 3\)"),
        ([[1], [[2]]], TypeError, r"prompt 1 is int64 \(1, 1\), expected integers"),
        ([0.5, 2], TypeError, r"the prompt is float64 \(2,\), expected integers \(L,\)"),
        ([[1], [2.0]], TypeError, "prompt 1 is float64"),
        ([True, False], TypeError, "the prompt is bool"),
        ("To be", TypeError, r"the prompt is 'To be', expected token ids; .*tokenizer\.encode"),
        (None, TypeError, "the prompt is None, expected token ids"),
        (["To", "be"], TypeError, "expected integers"),
        ([1, 211], IndexError, "ids run from 1 to 211, expected 0 to 210"),
        ([[4], [-1, 3]], IndexError, "ids run from -1"),
    ],
)
def test_prompts_that_are_none_are_refused(ids, error, message):
    with pytest.raises(error, match=message):
        generate(MODEL, ids, 2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_new_tokens": -1}, ValueError, "max_new_tokens is -1, expected 0 or more"),
        ({"max_new_tokens": 1.5}, TypeError, "max_new_tokens is 1.5, expected an integer"),
        ({"decoding": "greedy"}, TypeError, "decoding is 'greedy', expected a Decoding strategy"),
        ({"decoding": Greedy}, TypeError, "expected a Decoding strategy"),
        ({"stop": ["<|im_end|>"]}, TypeError, "expected token ids"),
        ({"stop": "5"}, TypeError, "expected token ids"),
        ({"stop": [True]}, TypeError, "expected token ids"),
        ({"stop": None}, TypeError, "stop is None, expected token ids"),
        ({"cache": True}, TypeError, "cache is True"),
        ({"cache": {}}, TypeError, "cache is {}"),
    ],
)
def test_options_that_mean_nothing_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        generate(MODEL, PROMPT, **{"max_new_tokens": 2, **options})


@pytest.mark.parametrize("damage", [np.nan, np.inf])
@pytest.mark.parametrize("cache", [None, False])
def test_damaged_weights_are_noticed(damage, cache):
    model = draw(KINDS["GQA"])
    model.blocks[1].mlp.down.weight.data[3, 4] = damage
    with pytest.raises(FloatingPointError, match="logits hold NaN or infinity"):
        generate(model, PROMPT, 3, cache=cache)


def test_a_module_that_knows_no_cache_can_do_without():
    with pytest.raises(TypeError, match=r"got Rule, which can do without \(cache=False\)"):
        generate(Rule(COUNT), [1], 2)
    both_ways = GPT(GPTConfig.lecture(9, 8, 12, 3, 2), seed=0)
    with pytest.raises(ValueError, match="without a causal mask"):
        generate(both_ways, [1, 2], 2)
    assert generate(both_ways, [1, 2], 2, cache=False).shape == (4,)
