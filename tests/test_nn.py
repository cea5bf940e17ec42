"""Modules, layers and initialisers against plain NumPy."""

import copy
import math
import pickle

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn

RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


class Twin(nn.Module):
    """Two layers, the second of which shares its weight with the first."""

    def __init__(self):
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3, bias=False)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(np.float32(2.0))

    def forward(self, x):
        return self.second(self.first(x)) * self.scale


# Module


def test_parameters_are_found_by_name_in_order_and_shared_ones_once():
    names = [name for name, _ in Twin().named_parameters()]
    assert names == ["scale", "first.weight", "first.bias"]
    assert Twin().num_parameters == 9 + 3 + 1


def test_parameters_are_float32_copies_that_require_gradients():
    source = np.ones((2, 3))
    parameter = nn.Parameter(source)
    source[:] = 5
    assert parameter.dtype == np.float32
    assert parameter.requires_grad
    assert (parameter.numpy() == 1).all()
    with pytest.raises(TypeError, match="int64 has no gradient"):
        nn.Parameter([1, 2], dtype="int64")


def test_replacing_or_deleting_an_attribute_forgets_its_parameter():
    layer = nn.Linear(2, 3)
    layer.bias = None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    del layer.weight
    assert layer.parameters() == []


def test_parameters_hidden_in_a_list_are_refused():
    module = nn.Module()
    with pytest.raises(TypeError, match="ModuleList"):
        module.layers = [nn.Linear(2, 2)]


def test_module_list_indexes_slices_and_names_by_position():
    layers = nn.ModuleList(nn.Linear(2, n) for n in (3, 4, 5))
    assert len(layers) == 3
    assert layers[-1].weight.shape == (2, 5)
    assert [m.weight.shape[1] for m in layers[1:]] == [4, 5]
    assert layers.named_parameters()[2][0] == "1.weight"
    with pytest.raises(TypeError, match="expected a Module"):
        layers.append(3)


def test_sequential_calls_one_after_the_other():
    first, second = nn.Linear(3, 4), nn.Linear(4, 2)
    x = draw(5, 3)
    expected = second(first(x)).numpy()
    np.testing.assert_array_equal(nn.Sequential(first, second)(x).numpy(), expected)


def test_train_and_eval_reach_every_module():
    block = nn.TransformerBlock(8, 2, dropout=0.5)
    block.eval()
    assert not any(module.training for _, module in block.named_modules())
    x = draw(2, 3, 8)
    np.testing.assert_array_equal(block(x).numpy(), block(x).numpy())
    block.train()
    assert not np.array_equal(block(x).numpy(), block(x).numpy())


def test_astype_converts_in_place_and_computes_in_that_dtype():
    layer = nn.Linear(3, 2)
    weight = layer.weight
    assert layer.astype("float64") is layer
    assert layer.weight is weight
    assert layer(draw(4, 3).astype(np.float64)).dtype == np.float64
    with pytest.raises(TypeError, match="int32 has no derivatives"):
        layer.astype("int32")


def test_printing_shows_the_tree_and_folds_equal_neighbours():
    text = repr(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Dropout(0.1)))
    assert text.splitlines() == ["Sequential()", "  0 to 1: Linear(3, 3)", "  2: Dropout(0.1)"]


def test_a_deep_copy_trains_apart():
    layer = nn.Linear(2, 2)
    twin = copy.deepcopy(layer)
    twin(draw(3, 2)).sum().backward()
    twin.weight.data[...] = 7
    assert layer.weight.grad is None
    assert twin.weight.grad is not None
    assert (layer.weight.numpy() != 7).all()
    assert twin.parameters()[0] is twin.weight


def test_frozen_parameters_stay_frozen_when_copied_or_converted():
    layer = nn.Linear(2, 3)
    layer.weight.requires_grad_(False)
    for changed in (copy.deepcopy(layer), layer.astype("float64"), layer.to("cpu")):
        assert not changed.weight.requires_grad
        assert changed.bias.requires_grad


def test_a_module_can_be_pickled():
    layer = nn.Linear(2, 3)
    twin = pickle.loads(pickle.dumps(layer))
    np.testing.assert_array_equal(twin.weight.numpy(), layer.weight.numpy())
    assert twin.parameters()[0] is twin.weight


def test_embedding_takes_a_list_of_ids():
    layer = nn.Embedding(3, 2)
    np.testing.assert_array_equal(layer([2, 0]).numpy(), layer.weight.numpy()[[2, 0]])


# state_dict


def test_state_dict_is_a_snapshot_and_loads_back():
    layer = nn.Linear(3, 2)
    state = layer.state_dict()
    before = layer(np.eye(3, dtype=np.float32)).numpy()
    layer.weight.data[...] = 0
    assert layer.load_state_dict(state) == ([], [])
    np.testing.assert_array_equal(layer(np.eye(3, dtype=np.float32)).numpy(), before)


def test_load_state_dict_lists_everything_that_does_not_fit_and_writes_nothing():
    model = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 4, bias=False))
    before = model.state_dict()
    state = {
        "0.weight": np.ones((2, 3), np.float32),
        "0.bias": np.ones(2, np.float64),
        "2.weight": np.ones(1, np.float32),
    }
    with pytest.raises(ValueError, match="does not fit") as caught:
        model.load_state_dict(state)
    message = str(caught.value)
    assert "missing: 1.weight" in message
    assert "unexpected: 2.weight" in message
    assert "0.weight: given shape (2, 3) float32, expected (3, 2) float32" in message
    assert "0.bias: given shape (2,) float64, expected (2,) float32" in message
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_load_state_dict_not_strict_reports_what_is_missing_and_too_many():
    layer = nn.Linear(2, 2)
    result = layer.load_state_dict({"bias": np.ones(2, np.float32), "gain": 3}, strict=False)
    assert result == (["weight"], ["gain"])
    assert (layer.bias.numpy() == 1).all()


def test_loading_after_a_graph_was_recorded_is_noticed_at_backward():
    layer = nn.Linear(2, 2)
    loss = layer(mg.tensor(draw(3, 2), requires_grad=True)).sum()
    layer.load_state_dict(layer.state_dict())
    with pytest.raises(RuntimeError, match="changed in place"):
        loss.backward()


# functional_call


def test_functional_call_uses_the_given_values_and_leaves_the_module_alone():
    layer = nn.Linear(3, 2)
    weight, bias, x = draw(3, 2), draw(2), draw(4, 3)
    before = layer.weight
    out = nn.functional_call(layer, {"weight": weight, "bias": bias}, x)
    np.testing.assert_allclose(out.numpy(), x @ weight + bias, rtol=1e-6, atol=1e-6)
    assert layer.weight is before


def test_functional_call_gives_gradients_that_backward_gives_too():
    model = nn.Sequential(nn.LayerNorm(3), nn.MLP(3))
    x = draw(5, 3)
    weights = {name: parameter.data for name, parameter in model.named_parameters()}
    grads = mg.grad(lambda w: (nn.functional_call(model, w, x) ** 2).sum())(weights)
    (model(x) ** 2).sum().backward()
    for name, parameter in model.named_parameters():
        np.testing.assert_allclose(grads[name], parameter.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_functional_call_replaces_a_shared_parameter_everywhere():
    twin, x = Twin(), draw(2, 3)
    out = nn.functional_call(twin, {"first.weight": 2 * np.eye(3, dtype=np.float32)}, x)
    np.testing.assert_allclose(out.numpy(), 8 * x, rtol=1e-6)


def test_functional_call_restores_after_an_exception():
    layer = nn.Linear(3, 2)
    before = layer.weight
    with pytest.raises(ValueError, match="Linear: input has shape"):
        nn.functional_call(layer, {"weight": draw(3, 2)}, draw(4, 5))
    assert layer.weight is before


def test_functional_call_may_be_nested_in_itself():
    inner = nn.Linear(2, 2, bias=False)

    class Outer(nn.Module):
        def __init__(self):
            self.inner = inner

        def forward(self, x):
            doubled = {"weight": self.inner.weight * 2}
            return nn.functional_call(self.inner, doubled, x) + self.inner(x)

    x, weight = draw(3, 2), draw(2, 2)
    out = nn.functional_call(Outer(), {"inner.weight": weight}, x)
    np.testing.assert_allclose(out.numpy(), 3 * (x @ weight), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"wieght": np.ones((3, 2))}, "no parameter named 'wieght'; it has weight, bias"),
        ({"weight": np.ones((2, 3))}, r"weight has shape \(2, 3\), expected \(3, 2\)"),
    ],
)
def test_functional_call_names_what_does_not_fit(parameters, message):
    with pytest.raises(ValueError, match=message):
        nn.functional_call(nn.Linear(3, 2), parameters, draw(1, 3))


def test_second_derivatives_pass_through_a_module():
    model = nn.MLP(2, d_hidden=3, activation="gelu_tanh").astype("float64")
    x = draw(4, 2).astype(np.float64)
    weights = {name: parameter.data for name, parameter in model.named_parameters()}
    mg.check_grads(lambda w: (nn.functional_call(model, w, x) ** 2).sum(), (weights,), order=2)


# layers


def test_linear_multiplies_from_the_right():
    layer, x = nn.Linear(3, 5), draw(2, 4, 3)
    layer.bias.data[...] = draw(5)
    expected = x @ layer.weight.numpy() + layer.bias.numpy()
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-6, atol=1e-6)
    assert nn.Linear(3, 5, bias=False).bias is None


def test_embedding_picks_rows_and_adds_up_gradients_of_repeated_ids():
    layer = nn.Embedding(4, 3)
    ids = np.array([[1, 3, 1]])
    np.testing.assert_array_equal(layer(ids).numpy(), layer.weight.numpy()[ids])
    layer(ids).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad.numpy()[:, 0], [0, 2, 0, 1])


def test_layer_norm_and_rms_norm_follow_their_formulas():
    x = draw(4, 6) * 3 + 1
    norm = nn.LayerNorm(6)
    norm.weight.data[...], norm.bias.data[...] = draw(6), draw(6)
    expected = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    expected = expected * norm.weight.numpy() + norm.bias.numpy()
    np.testing.assert_allclose(norm(x).numpy(), expected, rtol=1e-5, atol=1e-6)
    rms = nn.RMSNorm(6)
    rms.weight.data[...] = draw(6)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5) * rms.weight.numpy()
    np.testing.assert_allclose(rms(x).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_dropout_drops_in_training_only_and_keeps_the_mean():
    layer, x = nn.Dropout(0.25), np.ones((200, 300), np.float32)
    mg.manual_seed(1)
    y = layer(x).numpy()
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(y.mean() - 1) < 0.01
    layer.eval()
    np.testing.assert_array_equal(layer(x).numpy(), x)
    with pytest.raises(ValueError, match=r"p must be in \[0, 1\), got 1"):
        nn.Dropout(1)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh", "relu"])
def test_mlp_widens_applies_its_activation_and_narrows(activation):
    layer, x = nn.MLP(3, activation=activation), draw(5, 3)
    h = x @ layer.up.weight.numpy() + layer.up.bias.numpy()
    assert h.shape == (5, 12)
    if activation == "gelu":
        h = h * (1 + np.vectorize(math.erf)(h / math.sqrt(2))) / 2
    elif activation == "gelu_tanh":
        h = h * (1 + np.tanh(math.sqrt(2 / math.pi) * (h + 0.044715 * h**3))) / 2
    else:
        h = np.maximum(h, 0)
    expected = h @ layer.down.weight.numpy() + layer.down.bias.numpy()
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-4, atol=1e-5)


def attention_by_hand(layer, x, visible):
    """Head by head, row by row."""
    D, n_heads = x.shape[-1], layer.n_heads
    H = D // n_heads
    w = layer.state_dict()
    out = np.zeros_like(x)
    for b in range(x.shape[0]):
        q, k, v = (
            x[b] @ w[f"{name}.weight"] + w[f"{name}.bias"] for name in ("query", "key", "value")
        )
        for head in range(n_heads):
            cut = slice(head * H, (head + 1) * H)
            scores = q[:, cut] @ k[:, cut].T / math.sqrt(H)
            scores = np.where(visible, scores, -np.inf)
            weights = np.exp(scores - scores.max(1, keepdims=True))
            out[b, :, cut] = weights / weights.sum(1, keepdims=True) @ v[:, cut]
    return out @ layer.output.weight.numpy() + layer.output.bias.numpy()


@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_a_loop_over_heads(causal):
    layer, x = nn.MultiHeadAttention(6, 2, causal=causal), draw(3, 5, 6)
    for linear in (layer.query, layer.key, layer.value, layer.output):
        linear.bias.data[...] = draw(6)
    visible = np.tril(np.ones((5, 5), bool)) if causal else np.ones((5, 5), bool)
    expected = attention_by_hand(layer, x, visible)
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-4, atol=1e-5)


def test_attention_takes_a_mask_in_which_true_attends():
    layer, x = nn.MultiHeadAttention(6, 3), draw(2, 4, 6)
    visible = np.array([[1, 0, 1, 0], [0, 1, 0, 0], [1, 1, 1, 1], [0, 0, 1, 1]], bool)
    expected = attention_by_hand(layer, x, visible)
    np.testing.assert_allclose(layer(x, mask=visible).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm", None])
def test_block_wires_norm_and_residual_as_told(norm_first, residual, norm):
    block = nn.TransformerBlock(6, 2, norm=norm, norm_first=norm_first, residual=residual)
    block_input = x = mg.tensor(draw(2, 3, 6))
    for f, normalise in ((block.attention, block.norm_1), (block.mlp, block.norm_2)):
        y = f(normalise(x)) if norm_first else f(x)
        y = x + y if residual else y
        x = y if norm_first else normalise(y)
    np.testing.assert_allclose(block(block_input).numpy(), x.numpy(), rtol=1e-5, atol=1e-6)
    names = [name for name, _ in block.named_parameters()]
    assert ("norm_1.weight" in names) == (norm is not None)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Linear(0, 3), "in_features must be a positive integer, got 0"),
        (lambda: nn.Linear(3, 2)(draw(4, 5)), r"Linear: input has shape \(4, 5\), expected \(…, 3"),
        (lambda: nn.MLP(3, activation="swish"), "one of 'gelu', 'gelu_tanh', 'relu', got 'swish'"),
        (lambda: nn.MultiHeadAttention(6, 4), "d_model 6 is not divisible by n_heads 4"),
        (lambda: nn.TransformerBlock(6, 2, norm="batch"), "'layernorm', 'rmsnorm', None"),
    ],
)
def test_layers_say_what_they_expected(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# init


@pytest.mark.parametrize(
    ("draw_weights", "std"),
    [
        (nn.init.normal, 1.0),
        (nn.init.uniform, 1 / math.sqrt(3)),
        (nn.init.xavier_uniform, math.sqrt(2 / 700)),
        (nn.init.xavier_normal, math.sqrt(2 / 700)),
        (nn.init.kaiming_uniform, math.sqrt(2 / 400)),
        (nn.init.kaiming_normal, math.sqrt(2 / 400)),
        (nn.init.truncated_normal, 0.8796),
    ],
)
def test_initialisers_have_the_spread_they_promise(draw_weights, std):
    mg.manual_seed(3)
    weights = draw_weights((400, 300))
    assert weights.dtype == np.float32
    assert abs(weights.mean()) < 0.02 * std
    assert abs(weights.std() / std - 1) < 0.01


def test_truncated_normal_stays_within_its_limit():
    assert np.abs(nn.init.truncated_normal((300, 20), std=0.1, limit=1.5)).max() <= 0.15


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 4)])
def test_orthogonal_columns_or_rows_are_orthonormal(shape):
    w = nn.init.orthogonal(shape)
    gram = w.T @ w if shape[0] >= shape[1] else w @ w.T
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=1e-6)


def test_a_seed_of_its_own_leaves_the_global_generator_alone():
    mg.manual_seed(5)
    expected = nn.init.normal((2, 2)), nn.init.normal((2, 2))
    mg.manual_seed(5)
    first = nn.init.normal((2, 2))
    with nn.init.seeded(9):
        inside = nn.init.normal((2, 2))
    np.testing.assert_array_equal([first, nn.init.normal((2, 2))], expected)
    with nn.init.seeded(9):
        np.testing.assert_array_equal(nn.init.normal((2, 2)), inside)


def test_fan_in_needs_two_axes():
    with pytest.raises(ValueError, match=r"non-empty shape \(in, out\), got \(3,\)"):
        nn.init.xavier_uniform((3,))
