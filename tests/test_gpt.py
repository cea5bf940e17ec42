"""GPT against a plain-NumPy model written here, and against PyTorch."""

import math

import numpy as np
import pytest

import minigrad as mg
from minigrad.models import GPT, GPTConfig

SETTINGS = {
    "gpt2": {},
    "with biases": {"bias": True},
    "tied, tanh gelu": {"tie_weights": True, "activation": "gelu_tanh"},
    "post-norm relu": {"norm_first": False, "activation": "relu"},
    "rms norm, no positions": {"norm": "rmsnorm", "positions": None},
    "no residual": {"residual": False},
    "sees both ways": {"causal": False, "norm": None},
}


def small(seed=3, dtype=None, **changes):
    model = GPT(GPTConfig(11, 7, d_model=12, n_heads=3, n_layers=2, **changes), seed=seed)
    # Larger weights than at the start of training, so that every part of the model matters.
    for i, p in enumerate(model.parameters()):
        noise = np.random.default_rng(i).standard_normal(p.shape)
        p.data[...] += (0.3 * noise).astype(np.float32)
    return model.astype(dtype) if dtype else model


IDS = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 10]])


# The same model, written independently: float64, one sequence, one head, one position at a time.


def activation(name, h):
    if name == "relu":
        return np.maximum(h, 0)
    if name == "gelu":
        return h * (1 + np.vectorize(math.erf)(h / math.sqrt(2))) / 2
    return h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))) / 2


def norm(c, w, name, x):
    if c.norm is None:
        return x
    if c.norm == "rmsnorm":
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"]
    centred = x - x.mean(-1, keepdims=True)
    y = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w[f"{name}.weight"]
    return y + w[f"{name}.bias"] if c.bias else y


def linear(c, w, name, x):
    y = x @ w[f"{name}.weight"]
    return y + w[f"{name}.bias"] if c.bias else y


def attention(c, w, name, x):
    q, k, v = (linear(c, w, f"{name}.{part}", x) for part in ("query", "key", "value"))
    H = c.d_model // c.n_heads
    merged = np.zeros_like(x)
    for i in range(len(x)):
        seen = i + 1 if c.causal else len(x)
        for cut in (slice(h * H, (h + 1) * H) for h in range(c.n_heads)):
            scores = np.exp(q[i, cut] @ k[:seen, cut].T / math.sqrt(H))
            merged[i, cut] = scores / scores.sum() @ v[:seen, cut]
    return linear(c, w, f"{name}.output", merged)


def mlp(c, w, name, x):
    h = activation(c.activation, linear(c, w, f"{name}.up", x))
    return linear(c, w, f"{name}.down", h)


def gpt_by_hand(c, w, ids):
    x = w["token_embedding.weight"][ids]
    if c.positions == "learned":
        x = x + w["position_embedding.weight"][: len(ids)]
    for i in range(c.n_layers):
        for layer, part, its_norm in ((attention, "attention", "norm_1"), (mlp, "mlp", "norm_2")):
            name, norm_name = f"blocks.{i}.{part}", f"blocks.{i}.{its_norm}"
            y = layer(c, w, name, norm(c, w, norm_name, x) if c.norm_first else x)
            y = x + y if c.residual else y
            x = y if c.norm_first else norm(c, w, norm_name, y)
    if c.norm_first:
        x = norm(c, w, "norm", x)
    head = w["token_embedding.weight"].T if c.tie_weights else w["head.weight"]
    return x @ head


@pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS)
def test_logits_equal_the_model_written_by_hand(changes):
    model = small(dtype="float64", **changes)
    expected = [gpt_by_hand(model.config, model.state_dict(), ids) for ids in IDS]
    logits = model(IDS)
    assert logits.shape == (2, 5, 11)
    np.testing.assert_allclose(logits.numpy(), expected, rtol=1e-10, atol=1e-10)


def test_the_lecture_block_as_drawn():
    config = GPTConfig.lecture(11, 7, d_model=12, n_heads=3, n_layers=1)
    model = GPT(config, seed=0).astype("float64")
    w = {name: array * 20 for name, array in model.state_dict().items()}
    model.load_state_dict(w)
    # Q, K, V = xW; softmax(QKᵀ/√H)V by head; merge; W_O; ReLU MLP D -> 4D -> D; LM head.
    x = w["token_embedding.weight"][IDS[0]]
    q, k, v = (x @ w[f"blocks.0.attention.{part}.weight"] for part in ("query", "key", "value"))
    heads = []
    for cut in (slice(0, 4), slice(4, 8), slice(8, 12)):
        scores = np.exp(q[:, cut] @ k[:, cut].T / 2)
        heads.append(scores / scores.sum(1, keepdims=True) @ v[:, cut])
    x = np.concatenate(heads, axis=1) @ w["blocks.0.attention.output.weight"]
    x = np.maximum(x @ w["blocks.0.mlp.up.weight"], 0) @ w["blocks.0.mlp.down.weight"]
    expected = x @ w["head.weight"]
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(model(IDS[:1]).numpy()[0], expected, rtol=1e-10, atol=1e-12)
    assert set(w) == {
        "token_embedding.weight",
        "blocks.0.attention.query.weight",
        "blocks.0.attention.key.weight",
        "blocks.0.attention.value.weight",
        "blocks.0.attention.output.weight",
        "blocks.0.mlp.up.weight",
        "blocks.0.mlp.down.weight",
        "head.weight",
    }
    assert GPTConfig.lecture(11, 7, 12, 3, 1, causal=True).causal


def test_a_causal_model_does_not_see_what_follows():
    model, changed = small(), IDS.copy()
    changed[:, 3:] = 0
    before, after = model(IDS).numpy(), model(changed).numpy()
    np.testing.assert_allclose(before[:, :3], after[:, :3], rtol=1e-5, atol=1e-6)
    assert np.abs(before[:, 3:] - after[:, 3:]).max() > 0.1


def test_without_mask_and_positions_the_order_of_earlier_tokens_is_invisible():
    model = GPT(GPTConfig.lecture(11, 7, 12, 3, 2), seed=0)
    shuffled = IDS[:, [2, 0, 3, 1, 4]]
    logits, other = model(IDS).numpy(), model(shuffled).numpy()
    np.testing.assert_allclose(logits[:, -1], other[:, -1], rtol=1e-3, atol=1e-7)


def test_initial_weights_are_gpt2s():
    model = GPT(GPTConfig(65, 64, 128, 4, 3, bias=True), seed=1)
    for name, p in model.named_parameters():
        if p.ndim < 2:
            assert (p.numpy() == (1 if name.endswith("weight") else 0)).all()
            continue
        into_residual = "attention.output" in name or "mlp.down" in name
        std = 0.02 / math.sqrt(6) if into_residual else 0.02
        assert abs(p.numpy().std() / std - 1) < 0.05, name


def test_the_first_loss_is_that_of_guessing():
    model = GPT(GPTConfig(65, 16, 32, 4, 2), seed=0)
    ids = np.random.default_rng(0).integers(65, size=(8, 17))
    loss = mg.cross_entropy(model(ids[:, :-1]), ids[:, 1:]).item()
    assert abs(loss - math.log(65)) < 0.05


def test_num_parameters_is_the_published_formula():
    V, L, D, layers = 65, 64, 128, 4
    model = GPT(GPTConfig(V, L, D, 4, layers), seed=0)
    assert model.num_parameters == 2 * V * D + L * D + layers * (12 * D * D + 2 * D) + D
    tied = GPT(GPTConfig(V, L, D, 4, layers, tie_weights=True), seed=0)
    assert model.num_parameters - tied.num_parameters == V * D


def test_the_seed_decides_the_weights():
    same = [GPT(GPTConfig(5, 4, 8, 2, 1), seed=seed).state_dict() for seed in (0, 0, 1)]
    for name in same[0]:
        np.testing.assert_array_equal(same[0][name], same[1][name])
    assert not np.array_equal(same[0]["head.weight"], same[2]["head.weight"])


@pytest.mark.reference
@pytest.mark.parametrize("tie", [False, True])
def test_logits_and_gradients_agree_with_pytorch(tie):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    model = small(dtype="float64", tie_weights=tie)
    c = model.config
    targets = np.array([[1, 4, 1, 5, -100], [2, 6, -100, 10, 0]])
    mg.cross_entropy(model(IDS), targets).backward()
    w = {name: torch.tensor(a, requires_grad=True) for name, a in model.state_dict().items()}

    def normed(x, name):
        return F.layer_norm(x, (c.d_model,), w[f"{name}.weight"])

    x = w["token_embedding.weight"][torch.tensor(IDS)] + w["position_embedding.weight"][:5]
    for i in range(c.n_layers):
        b = f"blocks.{i}"
        h = normed(x, f"{b}.norm_1")
        q, k, v = (
            (h @ w[f"{b}.attention.{part}.weight"]).reshape(2, 5, 3, 4).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        y = y.transpose(1, 2).reshape(2, 5, 12)
        x = x + y @ w[f"{b}.attention.output.weight"]
        h = F.gelu(normed(x, f"{b}.norm_2") @ w[f"{b}.mlp.up.weight"])
        x = x + h @ w[f"{b}.mlp.down.weight"]
    head = w["token_embedding.weight"].T if tie else w["head.weight"]
    logits = normed(x, "norm") @ head
    F.cross_entropy(logits.reshape(10, 11), torch.tensor(targets).reshape(10)).backward()
    np.testing.assert_allclose(model(IDS).numpy(), logits.detach().numpy(), rtol=1e-10, atol=1e-10)
    for name, p in model.named_parameters():
        expected = w[name].grad.numpy()
        np.testing.assert_allclose(p.grad.numpy(), expected, rtol=1e-8, atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"d_model": 10}, ValueError, "d_model 10 is not divisible by n_heads 3"),
        ({"n_layers": 0}, ValueError, "n_layers must be at least 1, got 0"),
        ({"n_heads": 1.5}, TypeError, "n_heads must be an integer, got 1.5"),
        ({"activation": "swish"}, ValueError, "activation must be one of 'gelu'"),
        ({"norm": "batchnorm"}, ValueError, "one of 'layernorm', 'rmsnorm', None"),
        ({"positions": "rope"}, ValueError, "positions must be one of 'learned', None"),
        ({"bias": 1}, TypeError, "bias must be True or False, got 1"),
        ({"dropout": 1.0}, ValueError, r"dropout must be in \[0, 1\), got 1.0"),
    ],
)
def test_a_config_that_makes_no_model_is_refused(changes, error, message):
    settings = dict(vocab_size=11, context_length=7, d_model=12, n_heads=3, n_layers=2)
    with pytest.raises(error, match=message):
        GPTConfig(**{**settings, **changes})


@pytest.mark.parametrize(
    ("ids", "error", "message"),
    [
        (np.zeros((1, 3)), TypeError, "ids must be integers, got dtype float64"),
        (np.zeros(3, int), ValueError, r"ids must have shape \(B, L\), got \(3,\)"),
        (np.zeros((2, 8), int), ValueError, "8 tokens long, expected 1 to context_length = 7"),
        (np.zeros((2, 0), int), ValueError, "0 tokens long"),
        ([[3, 11]], IndexError, "run from 3 to 11, expected 0 to 10"),
        ([[-1, 2]], IndexError, "run from -1 to 2"),
    ],
)
def test_ids_that_no_model_takes_are_refused(ids, error, message):
    with pytest.raises(error, match=message):
        small()(ids)
