"""Strategies: beams against every continuation, against a plain search, against transformers."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad import inference, models, nn
from minigrad.inference import BeamSearch, Decoding, Greedy, Run, Sample
from minigrad.models import GPT, GPTConfig, Llama, LlamaConfig, store

VOCABULARY = 24
PROMPTS = [[3, 17, 5], [20], [8, 1, 1, 13, 2, 9], [11, 4]]


def shaken(model, by):
    """The model with every parameter moved, so that it has opinions."""
    rng = np.random.default_rng(3)
    for parameter in model.parameters():
        parameter.data += rng.normal(size=parameter.shape) * by
    return model


def make(kind, dtype="float64"):
    if kind == "gpt-2":
        config = GPTConfig(
            VOCABULARY, 40, 24, 3, 2, bias=True, tie_weights=True, activation="gelu_tanh"
        )
        return shaken(GPT(config, seed=2).astype("float64"), 0.4).astype(dtype)
    shape = dict(d_latent=8, d_rope=4) if kind == "latent" else dict(n_kv_heads=2)
    config = LlamaConfig(VOCABULARY, 40, 24, 6, 2, 40, **shape)
    return shaken(Llama(config, seed=1).astype("float64"), 0.4).astype(dtype)


MODELS = {kind: make(kind) for kind in ("llama", "gpt-2", "latent")}


def shown(beams):
    return [(each.text.tolist(), each.score) for each in beams.hypotheses]


def assert_same(found, expected, tolerance=1e-10):
    assert [text for text, _ in found] == [text for text, _ in expected]
    np.testing.assert_allclose(
        [score for _, score in found], [score for _, score in expected], tolerance
    )


def log_probabilities(model, text):
    """(V,), of what follows a text; the whole text passes the model."""
    with mg.no_grad():
        logits = model(np.array(text)[None]).numpy()[0, -1]
    return logits - logits.max() - np.log(np.exp(logits - logits.max()).sum())


class Few(nn.Module):
    """A model that can write few of its tokens alone."""

    def __init__(self, model, tokens):
        self.model, self.forbidden = model, np.full(VOCABULARY, -np.inf)
        self.forbidden[tokens] = 0

    def forward(self, ids):
        return self.model(ids) + self.forbidden


@pytest.mark.parametrize("length_penalty", [-1, 0, 0.5, 1, 2])
def test_enough_beams_find_the_best_of_all_continuations(length_penalty):
    tokens, stop, new, prompt = [2, 7, 19], 7, 3, [3, 17, 5]
    model = Few(MODELS["llama"], tokens)
    everything = []
    for n in range(1, new + 1):
        for text in itertools.product(tokens, repeat=n):
            if stop in text[:-1] or (n < new and text[-1] != stop):
                continue
            log_p = sum(log_probabilities(model, [*prompt, *text[:i]])[text[i]] for i in range(n))
            everything.append(([*prompt, *text], log_p / n**length_penalty))
    everything.sort(key=lambda each: each[1], reverse=True)
    assert len(everything) == 1 + 2 + 4 * 3

    how = BeamSearch(VOCABULARY, length_penalty, "never")
    beams = how.search(model, prompt, new, cache=False, stop=[stop])
    assert_same(shown(beams), everything)
    best = inference.generate(model, prompt, new, how, cache=False, stop=[stop])
    assert best.tolist() == everything[0][0]


def test_as_many_beams_as_tokens_find_the_best_of_all_pairs():
    model, prompt = MODELS["gpt-2"], [8, 1]
    after = [log_probabilities(model, [*prompt, first]) for first in range(VOCABULARY)]
    pairs = log_probabilities(model, prompt)[:, None] + after
    best = np.argsort(-pairs, axis=None)[:VOCABULARY]
    beams = BeamSearch(VOCABULARY, length_penalty=0).search(model, prompt, 2)
    expected = [([*prompt, *divmod(int(i), VOCABULARY)], pairs.flat[i]) for i in best]
    assert_same(shown(beams), expected)


def plain_search(model, prompt, new, how, stop):
    """Beam search as its definition says: (text, score) of each hypothesis, without a cache."""
    beams, done = [(0.0, list(prompt))], []
    for n in range(1, new + 1):
        candidates = [
            (total + log_p, [*text, token])
            for total, text in beams
            for token, log_p in enumerate(log_probabilities(model, text))
        ]
        candidates.sort(key=lambda each: each[0], reverse=True)
        over = [n == new or text[-1] in stop for _, text in candidates]
        for (total, text), ends in list(zip(candidates, over))[: how.num_beams]:
            if ends:
                done.append((text, total / n**how.length_penalty))
        done = sorted(done, key=lambda each: each[1], reverse=True)[: how.num_beams]
        beams = [each for each, ends in zip(candidates, over) if not ends][: how.num_beams]
        if not beams:
            return done
        if len(done) == how.num_beams:
            far = new if how.early_stopping == "never" and how.length_penalty > 0 else n
            possible = beams[0][0] / far**how.length_penalty
            if how.early_stopping is True or possible <= done[-1][1]:
                return done


CASES = [
    (4, 1.0, False, [5, 12], 9),
    (4, 0.0, True, [5, 12, 22], 8),
    (8, 2.0, "never", [12], 7),
    (8, -1.0, False, [5, 0, 21], 7),
    (4, 1.5, "never", [8, 9, 10, 23], 9),
    (4, 1.5, False, [8, 9, 10, 23], 9),
    (3, 1, True, [], 6),
    (1, 1.0, False, [5, 12, 22], 7),
]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("case", CASES)
def test_beams_equal_a_plain_search_in_batches_and_alone(case, kind):
    model, (num_beams, length_penalty, early_stopping, stop, new) = MODELS[kind], case
    how = BeamSearch(num_beams, length_penalty, early_stopping)
    together = how.search(model, PROMPTS, new, stop=stop)
    for prompt, beams in zip(PROMPTS, together, strict=True):
        assert_same(shown(beams), plain_search(model, prompt, new, how, stop))
        assert_same(shown(beams), shown(how.search(model, prompt, new, stop=stop)))
    without = how.search(model, PROMPTS[2], new, cache=False, stop=stop)
    assert_same(shown(together[2]), shown(without))


def test_the_cases_above_end_early_and_late():
    lengths = {
        len(text) - len(prompt) - new
        for num_beams, length_penalty, early_stopping, stop, new in CASES
        for prompt in PROMPTS
        for text, _ in shown(
            BeamSearch(num_beams, length_penalty, early_stopping).search(
                MODELS["llama"], prompt, new, stop=stop
            )
        )
    }
    assert min(lengths) <= -5 and max(lengths) == 0 and len(lengths) > 4


def test_generate_gives_the_best_hypothesis_in_the_prompts_form():
    model, how, stop = MODELS["llama"], BeamSearch(4), [5, 12]
    best = [beams.hypotheses[0].text.tolist() for beams in how.search(model, PROMPTS, 9, stop=stop)]
    texts = inference.generate(model, PROMPTS, 9, how, stop=stop)
    assert [text.tolist() for text in texts] == best
    one = inference.generate(model, np.array(PROMPTS[2]), 9, how, stop=stop)
    assert one.tolist() == best[2]
    pair = inference.generate(model, np.array(PROMPTS[:1] * 2), 9, how, stop=stop)
    assert pair.tolist() == [best[0]] * 2
    assert inference.generate(model, [4, 2], 0, how).tolist() == [4, 2]


def test_the_length_penalty_chooses_between_short_and_long():
    model, prompt, stop = MODELS["llama"], PROMPTS[0], [5, 12, 22]
    lengths = [
        len(inference.generate(model, prompt, 9, BeamSearch(8, penalty, "never"), stop=stop))
        for penalty in (-3.0, 0.0, 8.0)
    ]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1] == len(prompt) + 9


def test_one_beam_without_stop_tokens_is_greedy():
    greedy = inference.generate(MODELS["gpt-2"], PROMPTS, 12, Greedy())
    narrow = inference.generate(MODELS["gpt-2"], PROMPTS, 12, BeamSearch(1))
    assert [text.tolist() for text in narrow] == [text.tolist() for text in greedy]


def test_the_tree_tells_what_was_kept_finished_and_dropped():
    model, prompt, stop = MODELS["llama"], PROMPTS[2], [5, 12]
    beams = BeamSearch(3).search(model, prompt, 6, stop=stop)
    root, *nodes = beams.tree
    assert root == inference.Node(None, None, 0.0, "kept")
    depth = {0: 0}
    for i, node in enumerate(nodes, start=1):
        depth[i] = depth[node.parent] + 1
        before = [beams.tree[each].token for each in beams.path(node.parent)]
        above = beams.tree[node.parent].log_probability
        step = log_probabilities(model, [*prompt, *before])[node.token]
        assert node.log_probability == pytest.approx(above + step, rel=1e-10)
        assert beams.tree[node.parent].fate == "kept"
    steps = [[nodes[i - 1] for i in depth if depth[i] == d] for d in range(1, max(depth.values()))]
    for step in steps:
        assert len(step) == 9  # three beams, each of which may end by two tokens or go on
        assert step == sorted(step, key=lambda node: -node.log_probability)
        assert sum(node.fate == "kept" for node in step) == 3
        assert all(node.fate == ("finished" if node.token in stop else "kept") for node in step[:3])
    assert any(node.fate == "finished" for step in steps for node in step)
    for each in beams.hypotheses:
        tokens = [beams.tree[i].token for i in beams.path(each.node)]
        assert [*prompt, *tokens] == each.text.tolist()
        assert each.log_probability == beams.tree[each.node].log_probability
        assert each.score == each.log_probability / len(tokens)
        assert beams.tree[each.node].fate == "finished"


def test_a_prompt_that_is_done_leaves_the_batch():
    rows = []

    class Watched(nn.Module):
        """Ends after id 1 at once, and after others never."""

        def forward(self, ids):
            rows.append(len(ids))
            logits = np.tile(np.arange(5.0), (*ids.shape, 1))
            logits[..., 0] = np.where(ids[:, :1] == 1, 9, -9)
            return mg.tensor(logits)

    texts = inference.generate(
        Watched(), np.array([[1], [2]]), 4, BeamSearch(2, early_stopping=True), False, stop=[0]
    )
    assert rows == [2, 4, 2, 2]
    assert texts.tolist() == [[1, 0, 0, 0, 0], [2, 4, 4, 4, 4]]


def test_equally_likely_tokens_are_taken_in_order():
    class Even(nn.Module):
        def forward(self, ids):
            return mg.tensor(np.zeros((*ids.shape, 70)))

    beams = BeamSearch(3).search(Even(), [1], 2, cache=False)
    assert [each.text.tolist() for each in beams.hypotheses] == [[1, 0, 0], [1, 0, 1], [1, 0, 2]]


def test_a_cache_may_hold_the_beginning_of_the_prompt():
    model, text, how = MODELS["llama"], np.array(PROMPTS[2]), BeamSearch(4)
    cache = inference.KVCache(model, 1, 20)
    model(text[None, :4], cache=cache)
    went_on = how.search(model, text[4:], 5, cache)
    whole = how.search(model, text, 5)
    assert_same([(text.tolist()[:4] + t, s) for t, s in shown(went_on)], shown(whole))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), ValueError, "num_beams is 0, expected an integer of at least 1"),
        ((-4,), ValueError, "num_beams is -4"),
        ((2.0,), TypeError, "num_beams is 2.0, expected an integer"),
        ((4, "long"), TypeError, "length_penalty is 'long', expected a number"),
        ((4, np.nan), ValueError, "length_penalty is nan, expected a finite number"),
        ((4, 1.0, "soon"), ValueError, "early_stopping is 'soon', expected True, False or"),
        ((4, 1.0, 1), ValueError, "early_stopping is 1, expected"),
    ],
)
def test_settings_that_make_no_search_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        BeamSearch(*arguments)


def test_beams_that_cannot_be_are_refused():
    model = MODELS["gpt-2"]
    with pytest.raises(ValueError, match=r"num_beams is 25, expected at most .* vocabulary, 24"):
        inference.generate(model, [1], 2, BeamSearch(25))
    with pytest.raises(ValueError, match="max_new_tokens is 0, expected"):
        BeamSearch(2).search(model, [1], 0)
    with pytest.raises(ValueError, match=r"BeamSearch\(2, .* only at the end; use generate"):
        inference.stream(model, [1], 2, BeamSearch(2))


def test_a_strategy_without_a_choice_says_so():
    for call in (Decoding().choose, Run().next):
        with pytest.raises(NotImplementedError, match=r"has no (choose|next) method"):
            call(None, None)


def test_strategies_side_by_side_write_what_each_writes_alone():
    strategies = [Greedy(), Sample(seed=1), Sample(top_k=3, seed=2), Sample(seed=1)]
    for stop in ((), (2, 9)):
        together = inference.generate(
            MODELS["llama"], PROMPTS, 8, inference.SideBySide(strategies), stop=stop
        )
        for prompt, strategy, text in zip(PROMPTS, strategies, together):
            alone = inference.generate(MODELS["llama"], prompt, 8, strategy, stop=stop)
            np.testing.assert_array_equal(text, alone)


def test_what_cannot_stand_side_by_side_is_refused():
    with pytest.raises(ValueError, match="2 strategies for 4 prompts"):
        inference.generate(MODELS["llama"], PROMPTS, 3, inference.SideBySide([Greedy()] * 2))
    with pytest.raises(ValueError, match=r"BeamSearch\(2.* needs rows of its own"):
        beams = inference.SideBySide([Greedy(), BeamSearch(2)])
        inference.generate(MODELS["llama"], PROMPTS[:2], 3, beams)


def test_a_strategy_of_ones_own_needs_a_choice_alone():
    class Second(Decoding):
        def choose(self, logits, texts):
            return np.argsort(-logits, axis=-1)[:, 1]

    model = MODELS["llama"]
    chosen = inference.generate(model, PROMPTS[0], 1, Second())[-1]
    assert chosen == np.argsort(-log_probabilities(model, PROMPTS[0]))[1]


# Against transformers, which made the golden file

GOLDEN = json.loads(Path(__file__).with_name("golden").joinpath("decoding.json").read_text())
needs_smollm2 = pytest.mark.skipif(
    store.cached("smollm2-135m-instruct") is None,
    reason="needs `minigrad download smollm2-135m-instruct`",
)


@pytest.fixture(scope="module")
def smollm2():
    return models.load("smollm2-135m-instruct")


@needs_smollm2
@pytest.mark.parametrize("golden", GOLDEN["prompts"], ids=range(len(GOLDEN["prompts"])))
def test_beams_of_smollm2_equal_those_of_transformers(smollm2, golden):
    for settings, expected in golden["beams"]:
        settings = dict(settings)
        new = settings.pop("max_new_tokens")
        beams = BeamSearch(**settings).search(smollm2, golden["ids"], new, stop=GOLDEN["stop"])
        assert_same(shown(beams), [(golden["ids"] + text, score) for text, score in expected], 1e-4)


@needs_smollm2
@pytest.mark.parametrize("golden", GOLDEN["prompts"], ids=range(len(GOLDEN["prompts"])))
def test_draws_of_smollm2_come_from_the_distributions_of_transformers(smollm2, golden):
    ids = np.array(golden["ids"])
    with mg.no_grad():
        logits = smollm2(ids[None], last=True).numpy()[:, 0]
    for settings, seed, new, (count, likeliest, shares) in golden["draws"]:
        how = Sample(**settings, seed=seed)
        ours = how.probabilities(logits, [ids])[0]
        assert (ours > 0).sum() == count
        np.testing.assert_allclose(ours[likeliest], shares, 1e-3)
        assert inference.generate(smollm2, ids, len(new), how)[len(ids) :].tolist() == new


@pytest.fixture
def one_thread():
    """For torch, whose threads take longer to wake than so small a model takes."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.reference
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["llama", "gpt-2"])
@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("num_beams", [4, 8])
def test_beams_and_scores_equal_those_of_transformers(kind, early_stopping, num_beams, tmp_path):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    ours = make(kind, "float32")
    models.save(ours, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    longest = max(map(len, PROMPTS))
    ids = [[0] * (longest - len(prompt)) + prompt for prompt in PROMPTS]
    mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in PROMPTS]
    for length_penalty, stop in itertools.product([-1.0, 0.0, 0.7, 1.0, 2.0], ([8, 9, 10, 23], [])):
        out = theirs.generate(
            torch.tensor(ids),
            attention_mask=torch.tensor(mask),
            max_new_tokens=9,
            do_sample=False,
            num_beams=num_beams,
            num_return_sequences=num_beams,
            length_penalty=length_penalty,
            early_stopping=early_stopping,
            eos_token_id=stop or None,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_scores=True,
        )
        new = (out.beam_indices.numpy() >= 0).sum(axis=-1)
        starts = np.repeat([longest - len(prompt) for prompt in PROMPTS], num_beams)
        expected = [
            (row[start : longest + n].tolist(), float(score))
            for row, start, n, score in zip(
                out.sequences.numpy(), starts, new, out.sequences_scores
            )
        ]
        how = BeamSearch(num_beams, length_penalty, early_stopping)
        found = [shown(beams) for beams in how.search(ours, PROMPTS, 9, stop=stop)]
        assert_same([each for beams in found for each in beams], expected, 1e-5)
