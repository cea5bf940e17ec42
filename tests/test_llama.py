"""Llama, its kin and GPT-2: against models in plain NumPy, golden files, and transformers."""

import json
import math
from pathlib import Path

import language_models
import numpy as np
import pytest
from checking import directional_difference
from language_models import (
    CONFIGS,
    LATENT,
    NAME,
    draw,
    ids_of,
    needs_smollm2,
    their_logits,
    theirs,
)

import minigrad as mg
from minigrad import inference, models, nn
from minigrad.models import Llama, LlamaConfig

GOLDEN = json.loads(
    (Path(__file__).parent / "golden" / "language_models.json").read_text(encoding="utf-8")
)
LLAMAS = {name: c for name, c in CONFIGS.items() if isinstance(c, LlamaConfig)}
LLAMAS["latent"] = LATENT
ODD = {
    "wide heads, one bias": LlamaConfig(
        **language_models.SIZES, n_heads=3, n_kv_heads=1, d_head=10, output_bias=True
    ),
    "a bias in the MLP": LlamaConfig(**language_models.SIZES, n_heads=2, mlp_bias=True),
}


def logits(model, ids, **options):
    with mg.no_grad():
        return model(ids, **options).numpy()


# The same model, written independently: float64, a sequence, a head and a position at a time.


def rms_norm(x, gain, eps):
    return x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps) * gain


def rotated(x, position, base):
    """The vector with its halves as real and imaginary parts, turned."""
    pairs = x[: len(x) // 2] + 1j * x[len(x) // 2 :]
    pairs = pairs * np.exp(1j * position / base ** (np.arange(len(pairs)) / len(pairs)))
    return np.concatenate([pairs.real, pairs.imag])


def softmax(scores):
    e = np.exp(scores - max(scores))
    return e / e.sum()


def times(w, name, x):
    return x @ w[f"{name}.weight"] + w.get(f"{name}.bias", 0.0)


def attention(c, w, name, x):
    group, H, rows = c.n_heads // c.n_kv_heads, c.d_head, []
    q, k, v = (times(w, f"{name}.{part}", x) for part in ("query", "key", "value"))
    for i in range(len(x)):
        heads = []
        for h in range(c.n_heads):
            mine, shared = slice(h * H, h * H + H), slice(h // group * H, h // group * H + H)
            query = rotated(q[i, mine], i, c.rope_base)
            scores = [query @ rotated(k[j, shared], j, c.rope_base) for j in range(i + 1)]
            heads.append(softmax(np.array(scores) / math.sqrt(H)) @ v[: i + 1, shared])
        rows.append(np.concatenate(heads))
    return times(w, f"{name}.output", np.array(rows))


def latent_attention(c, w, name, x):
    """DeepSeek-V2's equations, keys and values made for every head and position."""
    H, R, rows = c.d_head, c.d_rope, []
    gain = w[f"{name}.latent_norm.weight"]
    latent = rms_norm(x @ w[f"{name}.compress.weight"], gain, c.norm_eps)
    turned = x @ w[f"{name}.rotary_key.weight"]
    k, v = latent @ w[f"{name}.key.weight"], latent @ w[f"{name}.value.weight"]
    q = x @ w[f"{name}.query.weight"]
    for i in range(len(x)):
        heads = []
        for h in range(c.n_heads):
            query, mine = q[i, h * (H + R) : (h + 1) * (H + R)], slice(h * H, h * H + H)
            place = rotated(query[H:], i, c.rope_base)
            scores = [
                query[:H] @ k[j, mine] + place @ rotated(turned[j], j, c.rope_base)
                for j in range(i + 1)
            ]
            heads.append(softmax(np.array(scores) / math.sqrt(H + R)) @ v[: i + 1, mine])
        rows.append(np.concatenate(heads))
    return np.array(rows) @ w[f"{name}.output.weight"]


def llama_by_hand(c, w, ids):
    x = w["token_embedding.weight"][ids]
    for i in range(c.n_layers):
        name = f"blocks.{i}"
        attend = latent_attention if c.d_latent else attention
        h = rms_norm(x, w[f"{name}.norm_1.weight"], c.norm_eps)
        x = x + attend(c, w, f"{name}.attention", h)
        h = rms_norm(x, w[f"{name}.norm_2.weight"], c.norm_eps)
        gate = times(w, f"{name}.mlp.gate", h)
        h = gate / (1 + np.exp(-gate)) * times(w, f"{name}.mlp.up", h)
        x = x + times(w, f"{name}.mlp.down", h)
    head = w["token_embedding.weight"].T if c.tie_weights else w["head.weight"]
    return rms_norm(x, w["norm.weight"], c.norm_eps) @ head


@pytest.mark.parametrize("name", [*LLAMAS, *ODD])
def test_logits_equal_the_model_written_by_hand(name):
    config = (LLAMAS | ODD)[name]
    model, ids = draw(config, "float64"), ids_of(config, batch=2, length=11)
    expected = [llama_by_hand(config, model.state_dict(), row) for row in ids]
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(logits(model, ids), expected, rtol=1e-10, atol=1e-10)
    last = logits(model, ids, last=True)
    np.testing.assert_allclose(last, np.array(expected)[:, -1:], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("absorbed", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_both_ways_of_latent_attention_equal_its_formula(causal, absorbed):
    rng, (B, L, D, n, H, c, R) = np.random.default_rng(0), (2, 5, 14, 3, 4, 9, 6)
    with nn.init.seeded(1):
        layer = nn.MultiHeadLatentAttention(D, n, c, R, d_head=H, causal=causal).astype("float64")
    layer.latent_norm.weight.data[...] = rng.uniform(0.5, 1.5, c)
    w = {name: p.data for name, p in layer.named_parameters()}
    x, angles = rng.normal(size=(B, L, D)), np.arange(L)[:, None] / 50.0 ** (np.arange(3) / 3)

    def turn(x):
        pairs = (x[..., :3] + 1j * x[..., 3:]) * np.exp(1j * angles)
        return np.concatenate([pairs.real, pairs.imag], axis=-1)

    latent = rms_norm(x @ w["compress.weight"], w["latent_norm.weight"], 1e-5)
    shared = turn(x @ w["rotary_key.weight"])
    q = (x @ w["query.weight"]).reshape(B, L, n, H + R).transpose(0, 2, 1, 3)
    k, v = ((latent @ w[f"{each}.weight"]).reshape(B, L, n, H) for each in ("key", "value"))
    scores = np.einsum("bnih,bjnh->bnij", q[..., :H], k)
    scores = (scores + np.einsum("bnir,bjr->bnij", turn(q[..., H:]), shared)) / math.sqrt(H + R)
    scores = np.where(np.tri(L) > 0, scores, -np.inf) if causal else scores
    p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    expected = np.einsum("bnij,bjnh->binh", p, v).reshape(B, L, n * H) @ w["output.weight"]
    rotary = nn.rotary_tables(np.arange(L), R, 50.0, "float64")
    found = layer(mg.tensor(x), rotary=rotary, absorbed=absorbed).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)


def test_rotary_positions_show_in_scores_as_differences():
    config = LLAMAS["llama, GQA 8"]
    model, ids = draw(config, "float64"), ids_of(config, batch=2, length=9)
    there = logits(model, ids, positions=np.arange(40, 49))
    np.testing.assert_allclose(there, logits(model, ids), rtol=1e-9, atol=1e-9)
    each = np.array([np.arange(9), np.arange(9) * 2])
    apart = logits(model, ids, positions=each)
    np.testing.assert_allclose(apart[0], logits(model, ids[:1])[0], rtol=1e-9, atol=1e-9)
    assert np.abs(apart[1] - there[1]).max() > 0.1


def test_what_is_masked_and_what_follows_changes_nothing():
    config = LLAMAS["llama, tied, GQA 3"]
    model, ids = draw(config, "float64"), ids_of(config, batch=2, length=12)
    mask = np.ones((2, 12), bool)
    mask[0, :5] = False
    padded = logits(model, ids, mask=mask)
    np.testing.assert_allclose(padded[0, 5:], logits(model, ids[:1, 5:])[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(padded[1], logits(model, ids[1:])[0], rtol=1e-9, atol=1e-9)
    changed = ids.copy()
    changed[0, :5], changed[:, 9:] = 3, 7
    np.testing.assert_allclose(
        logits(model, changed, mask=mask)[0, 5:9], padded[0, 5:9], rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("name", ["llama, MQA, biases", "qwen2, tied, MQA", "latent"])
def test_gradients_equal_differences(name):
    config = LLAMAS[name]
    model, ids = draw(config, "float64"), ids_of(config, batch=2, length=7)
    parameters = {key: p.data for key, p in model.named_parameters()}
    rng = np.random.default_rng(3)
    along = [rng.uniform(-1, 1, p.shape) for p in parameters.values()]

    def loss(parameters):
        return mg.cross_entropy(nn.functional_call(model, parameters, ids[:, :-1]), ids[:, 1:])

    def value(*arrays):
        with mg.no_grad():
            return loss(dict(zip(parameters, arrays))).item()

    gradients = mg.grad(loss)(parameters)
    slope = sum(np.sum(g * v) for g, v in zip(gradients.values(), along))
    found = directional_difference(value, list(parameters.values()), along, step=2e-4)
    assert abs(slope - found) < 1e-6 * max(1, abs(found))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"n_heads": 5}, ValueError, "d_model 48 is not divisible by n_heads 5; .* d_head"),
        ({"n_kv_heads": 4}, ValueError, "n_heads 6 is not divisible by n_kv_heads 4"),
        ({"n_kv_heads": 12}, ValueError, "n_heads 6 is not divisible by n_kv_heads 12"),
        ({"n_kv_heads": 0}, ValueError, "n_kv_heads must be at least 1, got 0"),
        ({"d_head": 5}, ValueError, "d_head 5 is odd; rotary positions turn pairs"),
        ({"n_layers": 0}, ValueError, "n_layers must be at least 1, got 0"),
        ({"d_hidden": 80.0}, TypeError, "d_hidden must be an integer, got 80.0"),
        ({"vocab_size": True}, TypeError, "vocab_size must be an integer, got True"),
        ({"tie_weights": 1}, TypeError, "tie_weights must be True or False, got 1"),
        ({"qkv_bias": None}, TypeError, "qkv_bias must be True or False, got None"),
        ({"rope_base": 0}, ValueError, "rope_base must be positive, got 0"),
        ({"norm_eps": math.nan}, ValueError, "norm_eps must be positive, got nan"),
        ({"norm_eps": "1e-5"}, TypeError, "norm_eps must be a number, got '1e-5'"),
        ({"d_latent": 8}, ValueError, "d_latent and d_rope are given together"),
        ({"d_latent": 8, "d_rope": 3}, ValueError, "d_rope 3 is odd"),
        ({"d_latent": 8, "d_rope": 2, "n_kv_heads": 2}, ValueError, "neither n_kv_heads"),
        ({"d_latent": 8, "d_rope": 2, "qkv_bias": True}, ValueError, "nor biases of its own"),
    ],
)
def test_a_config_that_makes_no_model_is_refused(changes, error, message):
    with pytest.raises(error, match=f"LlamaConfig: .*{message}"):
        LlamaConfig(**{**language_models.SIZES, "n_heads": 6, **changes})


SOME = np.array([[3, 1, 4, 1], [5, 9, 2, 6]])


@pytest.mark.parametrize(
    ("ids", "options", "error", "message"),
    [
        (SOME * 1.0, {}, TypeError, "ids must be integers, got dtype float64"),
        (SOME > 2, {}, TypeError, "ids must be integers, got dtype bool"),
        ([["a"]], {}, TypeError, "ids must be integers"),
        (SOME[0], {}, ValueError, r"ids must have shape \(B, L\), got \(4,\)"),
        (SOME[None], {}, ValueError, r"ids must have shape \(B, L\), got \(1, 2, 4\)"),
        (SOME[:, :0], {}, ValueError, "0 tokens long, expected 1 to context_length = 96"),
        (np.zeros((1, 97), int), {}, ValueError, "97 tokens long, expected 1 to"),
        (SOME + 205, {}, IndexError, "ids run from 206 to 214, expected 0 to 210"),
        (SOME - 2, {}, IndexError, "ids run from -1 to 7"),
        (SOME, {"mask": SOME}, ValueError, r"mask is int64 \(2, 4\), expected bool \(2, 4\)"),
        (SOME, {"mask": SOME[0] > 0}, ValueError, r"mask is bool \(4,\), expected bool"),
        (SOME, {"positions": SOME * 1.0}, ValueError, "positions are float64"),
        (SOME, {"positions": np.arange(3)}, ValueError, r"\(3,\), expected integers \(4,\) or"),
        (SOME, {"positions": SOME * 11}, ValueError, "positions run from 11 to 99, .* to 95"),
        (SOME, {"positions": SOME - 2}, ValueError, "positions run from -1 to 7"),
    ],
)
@pytest.mark.parametrize("name", ["llama", "latent", "gpt-2"])
def test_bad_input_is_named(name, ids, options, error, message):
    with pytest.raises(error, match=message):
        draw((LLAMAS | CONFIGS)[name])(ids, **options)


def test_only_a_llamas_config_makes_a_llama():
    with pytest.raises(TypeError, match="Llama: expected a LlamaConfig, got GPTConfig"):
        Llama(CONFIGS["gpt-2"])
    with pytest.raises(TypeError, match="Llama: expected a LlamaConfig, got dict"):
        Llama(language_models.SIZES)


# Against transformers, by golden files


@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_as_exact_as_those_of_transformers(name):
    config, golden = CONFIGS[name], GOLDEN["drawn"][name]
    ids = ids_of(config)
    found = logits(draw(config), ids)
    exact = logits(draw(config, "float64"), ids)
    some = exact[:, golden["positions"]][..., golden["tokens"]]
    np.testing.assert_allclose(some, golden["logits"], rtol=1e-8, atol=1e-8)
    assert np.abs(found - exact).max() <= 2 * golden["error"]


class SmolLM2:
    """The model in both dtypes, each loaded once."""

    def __init__(self):
        self.single = models.load(NAME)
        self.double = models.load(NAME, "float64", tokenizer=False)


@pytest.fixture(scope="module")
def smollm2():
    return SmolLM2()


def assert_logits_are_as_exact(smollm2, golden):
    ids = np.array([golden["ids"]])
    exact = logits(smollm2.double, ids)
    some = exact[:, golden["positions"]][..., golden["tokens"]]
    np.testing.assert_allclose(some, golden["logits"], rtol=1e-8, atol=1e-8)
    # The largest error of one prompt is chance: that of all that are not longer is less so.
    shorter = [each["error"] for each in GOLDEN["smollm2"] if len(each["ids"]) <= ids.shape[1]]
    assert np.abs(logits(smollm2.single, ids) - exact).max() <= 2 * max(shorter)


def assert_same_but_for_near_ties(tokens, golden):
    """Greedy tokens are those of transformers up to the first that rounding decides."""
    for step, (own, other) in enumerate(zip(tokens, golden["greedy"], strict=True)):
        if own != other:
            second, gap = golden["close"].get(str(step), (None, math.inf))
            assert own == second and gap < 2e-4, f"step {step}: {own}, not {other}; gap {gap}"
            return


@needs_smollm2
def test_the_prompts_of_the_golden_file_are_those_of_the_tests(smollm2):
    prompts = language_models.prompts(smollm2.single.tokenizer)
    assert [ids.tolist() for ids in prompts] == [each["ids"] for each in GOLDEN["smollm2"]]
    assert len(prompts) == 20 and max(map(len, prompts)) == 1000


@needs_smollm2
@pytest.mark.parametrize("i", [0, 3, 9, 15])
def test_smollm2_is_as_exact_as_in_transformers(smollm2, i):
    assert_logits_are_as_exact(smollm2, GOLDEN["smollm2"][i])


@pytest.mark.slow
@needs_smollm2
@pytest.mark.parametrize("i", range(20))
def test_smollm2_is_as_exact_as_in_transformers_on_every_prompt(smollm2, i):
    assert_logits_are_as_exact(smollm2, GOLDEN["smollm2"][i])


@needs_smollm2
def test_smollm2_writes_what_it_writes_in_transformers(smollm2):
    golden = GOLDEN["smollm2"][7]
    tokens = inference.generate(smollm2.single, golden["ids"], 128)[len(golden["ids"]) :]
    assert_same_but_for_near_ties(tokens, golden)


@pytest.mark.slow
@needs_smollm2
@pytest.mark.parametrize("first", range(0, 20, 4))
def test_smollm2_writes_what_it_writes_in_transformers_after_every_prompt(smollm2, first):
    some = GOLDEN["smollm2"][first : first + 4]
    texts = inference.generate(smollm2.single, [np.array(each["ids"]) for each in some], 128)
    for text, golden in zip(texts, some, strict=True):
        assert_same_but_for_near_ties(text[len(golden["ids"]) :], golden)


# Against transformers, live


@pytest.mark.reference
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("name", CONFIGS)
def test_logits_are_as_exact_as_those_of_transformers_live(name, seed, tmp_path):
    model, ids = draw(CONFIGS[name]), ids_of(CONFIGS[name], seed=seed)
    exact = their_logits(theirs(model, tmp_path, "float64"), ids)
    error = np.abs(their_logits(theirs(model, tmp_path, "float32"), ids) - exact).max()
    assert np.abs(logits(model, ids) - exact).max() <= 2 * error


@pytest.mark.reference
@needs_smollm2
def test_smollm2_is_as_exact_as_in_transformers_live(smollm2, tmp_path):
    ids = np.array([GOLDEN["smollm2"][12]["ids"]])
    exact = their_logits(theirs(smollm2.double, tmp_path, "float64"), ids)
    error = np.abs(their_logits(theirs(smollm2.single, tmp_path, "float32"), ids) - exact).max()
    assert np.abs(logits(smollm2.single, ids) - exact).max() <= 2 * error


@pytest.mark.reference
@pytest.mark.parametrize("name", CONFIGS)
def test_gradients_agree_with_transformers(name, tmp_path):
    torch = pytest.importorskip("torch")
    model, ids = draw(CONFIGS[name], "float64"), ids_of(CONFIGS[name], batch=2, length=9)
    peer = theirs(model, tmp_path, "float64")
    out = peer(torch.tensor(ids[:, :-1])).logits
    torch.nn.functional.cross_entropy(
        out.flatten(0, 1), torch.tensor(ids[:, 1:]).flatten()
    ).backward()
    mg.cross_entropy(model(ids[:, :-1]), ids[:, 1:]).backward()
    # Their gradients stand where their parameters stood: read them back as a model of ours.
    with torch.no_grad():
        for parameter in peer.parameters():
            parameter.copy_(parameter.grad)
    peer.save_pretrained(tmp_path / "gradients")
    gradients = dict(models.load(tmp_path / "gradients", "float64").named_parameters())
    for key, parameter in model.named_parameters():
        expected = gradients[key].numpy()
        assert np.abs(expected).max() > 0, key
        np.testing.assert_allclose(
            parameter.grad.numpy(), expected, rtol=1e-8, atol=1e-11, err_msg=key
        )
