"""Training and decoding with every matrix cut, against one device: see minigrad.distributed."""

import functools

import numpy as np

import minigrad as mg
from distributed_cases import HOME, Case, values
from minigrad.distributed import sequence_parallel, tensor_parallel
from minigrad.models import GPT, GPTConfig, Llama, LlamaConfig
from minigrad.optim import AdamW

V, L, STEPS = 24, 12, 5
SIZES = dict(vocab_size=V, context_length=2 * L, d_model=24, n_heads=12, n_layers=2)
MODELS = {
    "GPT": lambda: GPT(GPTConfig(**SIZES, bias=True, dropout=0.1), seed=1),
    "tied GPT, norm last": lambda: GPT(
        GPTConfig(**SIZES, tie_weights=True, norm_first=False, activation="relu"), seed=2
    ),
    "Llama": lambda: Llama(
        LlamaConfig(**SIZES, d_hidden=36, n_kv_heads=12, qkv_bias=True, mlp_bias=True), seed=3
    ),
    "tied Llama, shared heads": lambda: Llama(
        LlamaConfig(**SIZES, d_hidden=48, n_kv_heads=4, tie_weights=True), seed=4
    ),
    "GPT, partly frozen": lambda: frozen(GPT(GPTConfig(**SIZES, bias=True), seed=9)),
}
PROMPT = np.random.default_rng(5).integers(0, V, (2, 5))


def frozen(model):
    """The model, of which the first block and every third of the other parameters will stay."""
    for number, (name, parameter) in enumerate(model.named_parameters()):
        parameter.requires_grad_(number % 3 > 0 and not name.startswith("blocks.0."))
    return model


def built(name):
    """The whole model, the same wherever it is built; no norm or bias is where such start."""
    model = MODELS[name]().astype(np.float64)
    rng = np.random.default_rng(6)
    for parameter in model.parameters():
        parameter.data *= 5
        if parameter.ndim == 1:
            parameter.data += rng.normal(size=parameter.shape) / 4
    return model


def batches():
    """(ids, targets), each (3, L), of every step; some targets do not count."""
    rng = np.random.default_rng(7)
    for _ in range(STEPS):
        text = rng.integers(0, V, (3, L + 1))
        ids, targets = text[:, :-1], text[:, 1:].copy()
        targets[1, :3] = -100
        yield ids, mg.tensor(targets, device=HOME)


def trained(model, loss_of, before_step=lambda: None):
    """The losses of a few steps of AdamW."""
    mg.manual_seed(8)
    # Biases of keys change no attention: their gradients are rounding errors, which a small eps
    # would make into steps.
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer, losses = AdamW(learning, lr=1e-2, eps=1e-3, weight_decay=0.1), []
    for ids, targets in batches():
        optimizer.zero_grad()
        loss = loss_of(model(ids), targets)
        loss.backward()
        before_step()
        optimizer.step()
        losses.append(loss.item())
    return losses


@functools.cache
def reference(name):
    """(losses, state, greedy continuation) of one device."""
    model = built(name).to(HOME)
    losses = trained(model, mg.cross_entropy)
    state, text = values(model), PROMPT
    model.eval()
    for _ in range(8):
        text = np.append(text, model(text).numpy()[:, -1:].argmax(-1), axis=1)
    return losses, state, text


def train_tensor(comm, name):
    part = tensor_parallel.shard(built(name).to(HOME), comm)
    losses = trained(part, lambda y, t: tensor_parallel.cross_entropy(y, t, comm))
    text = tensor_parallel.greedy(part, PROMPT, 8, comm)
    return losses, tensor_parallel.gather_state(part, comm), text


def train_sequence(comm, name, regather):
    part = sequence_parallel.shard(built(name).to(HOME), comm, regather)
    losses = trained(
        part,
        lambda y, t: tensor_parallel.cross_entropy(y, t, comm),
        lambda: sequence_parallel.all_reduce_gradients(part, comm),
    )
    return losses, tensor_parallel.gather_state(part, comm), None


def check(name, results):
    want_losses, want, want_text = reference(name)
    for losses, state, text in results:
        np.testing.assert_allclose(losses, want_losses, rtol=1e-12, atol=0)
        assert list(state) == list(want)
        for key in want:
            np.testing.assert_allclose(state[key], want[key], rtol=0, atol=1e-12, err_msg=key)
            np.testing.assert_array_equal(state[key], results[0][1][key], "copies drift apart")
        if text is not None:
            np.testing.assert_array_equal(text, want_text)


def tensor_case(name, size=4):
    return Case(functools.partial(train_tensor, name=name), size, functools.partial(check, name))


def sequence_case(name, regather=False, size=4):
    fn = functools.partial(train_sequence, name=name, regather=regather)
    return Case(fn, size, functools.partial(check, name))


CASES = {f"tensor parallel {name}": tensor_case(name) for name in MODELS}
CASES |= {
    f"tensor parallel {name}, 2 ranks": tensor_case(name, 2)
    for name in ("GPT", "tied Llama, shared heads")
}
