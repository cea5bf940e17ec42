"""Models from files: every weight in its place, and what does not fit is named."""

import json
import subprocess
import sys
import tracemalloc

import model_files
import numpy as np
import pytest
from language_models import WATCH_MEMORY

import minigrad as mg
from minigrad import models
from minigrad.models import GPT, GPTConfig, Llama, LlamaConfig, loading, store
from minigrad.text import BPE

SMOLLM2 = store.cached("smollm2-135m-instruct")
needs_smollm2 = pytest.mark.skipif(
    SMOLLM2 is None, reason="needs `minigrad download smollm2-135m-instruct`"
)
IDS = np.array([[3, 11, 7, 0, 12], [5, 5, 1, 9, 2]])
LLAMA = dict(vocab_size=13, context_length=9, d_model=24, n_heads=6, n_layers=2, d_hidden=20)
GPTS = dict(vocab_size=13, context_length=9, d_model=24, n_heads=3, n_layers=2)

OURS = {
    "llama": Llama(LlamaConfig(**LLAMA), seed=1),
    "shared keys": Llama(LlamaConfig(**LLAMA, n_kv_heads=2, tie_weights=True, rope_base=77.5), 2),
    "wide heads": Llama(LlamaConfig(**LLAMA, n_kv_heads=1, d_head=10, norm_eps=1e-3), seed=3),
    "biases": Llama(LlamaConfig(**LLAMA, qkv_bias=True, output_bias=True, mlp_bias=True), seed=4),
    "qwen": Llama(LlamaConfig(**LLAMA, n_kv_heads=3, qkv_bias=True), seed=5),
    "odd biases": Llama(LlamaConfig(**LLAMA, output_bias=True), seed=6),
    "latent": Llama(LlamaConfig(**LLAMA, d_latent=8, d_rope=4), seed=7),
    "gpt-2": GPT(GPTConfig(**GPTS, bias=True, tie_weights=True, activation="gelu_tanh"), seed=8),
    "untied gpt-2": GPT(GPTConfig(**GPTS, bias=True), seed=9),
    "default gpt": GPT(GPTConfig(**GPTS), seed=10),
    "lecture": GPT(GPTConfig.lecture(13, 9, 24, 3, 2, causal=True), seed=11),
}


def shaken(model, dtype="float32"):
    """The model with every parameter, biases and gains too, moved by a draw of its own."""
    rng = np.random.default_rng(12)
    for parameter in model.parameters():
        parameter.data += rng.normal(size=parameter.shape).astype(np.float32) * np.float32(0.1)
    return model.astype(dtype)


for model in OURS.values():
    shaken(model)


def assert_same(model, other):
    assert type(model) is type(other) and model.config == other.config
    theirs = dict(other.named_parameters())
    assert list(theirs) == [name for name, _ in model.named_parameters()]
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameter.data, theirs[name].data, err_msg=name)
    with mg.no_grad():
        np.testing.assert_array_equal(model(IDS).numpy(), other(IDS).numpy())


@pytest.mark.parametrize("kind", OURS)
def test_load_undoes_save(kind, tmp_path):
    pytest.importorskip("safetensors")
    models.save(OURS[kind], tmp_path / "deep" / "model")
    loaded = models.load(tmp_path / "deep" / "model")
    assert_same(OURS[kind], loaded)
    assert not loaded.training and loaded.tokenizer is None
    assert all(p.requires_grad and p.data.flags.carray for p in loaded.parameters())
    mg.cross_entropy(loaded(IDS), IDS).backward()
    assert all(p.grad is not None and p.grad.dtype == p.dtype for p in loaded.parameters())


def test_models_whose_weights_come_from_a_file_begin_without_memory():
    with mg.nn.init.skipped():
        model = Llama(LlamaConfig(2**20, 2**20, 2**12, 32, 3, 2**14))
    assert model.num_parameters > 9e9
    assert all(set(parameter.data.strides) == {0} for parameter in model.parameters())
    again = Llama(LlamaConfig(**LLAMA), seed=1)
    assert not np.array_equal(again.head.weight.data, 0 * again.head.weight.data)


def test_a_progress_bar_changes_nothing(tmp_path, monkeypatch, capfd):
    pytest.importorskip("safetensors")
    models.save(OURS["biases"], tmp_path)
    monkeypatch.setattr(loading, "MANY", 0)
    assert_same(models.load(tmp_path), OURS["biases"])


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["qwen", "gpt-2"])
def test_weights_are_read_in_one_dtype_and_kept_in_another(kind, dtype, tmp_path):
    pytest.importorskip("safetensors")
    models.save(OURS[kind], tmp_path)
    loaded = models.load(tmp_path, dtype)
    for own, read in zip(OURS[kind].parameters(), loaded.parameters()):
        assert read.dtype == mg.backend.as_dtype(dtype)
        np.testing.assert_array_equal(read.data, own.data.astype(read.dtype))
    models.save(loaded, tmp_path)
    for own, read in zip(OURS[kind].parameters(), models.load(tmp_path).parameters()):
        np.testing.assert_array_equal(
            read.data, own.data.astype(mg.backend.as_dtype(dtype)).astype(np.float32)
        )


def test_layer_norms_keep_their_eps(tmp_path):
    pytest.importorskip("safetensors")
    for kind in ("gpt-2", "default gpt"):
        model = GPT(OURS[kind].config, seed=3)
        for _, module in model.named_modules():
            if isinstance(module, mg.nn.LayerNorm):
                module.eps = 0.25
        models.save(model, tmp_path / kind)
        loaded = models.load(tmp_path / kind)
        assert_same(model, loaded)
        assert loaded.blocks[1].norm_2.eps == loaded.norm.eps == 0.25


def test_the_tokenizer_goes_with_the_model(tmp_path):
    pytest.importorskip("safetensors")
    tokenizer = BPE.train("the thin thief thinks", 262, special=["<|end|>"])
    model = Llama(LlamaConfig(262, 9, 8, 2, 1, 6), seed=0)
    model.tokenizer = tokenizer
    models.save(model, tmp_path)
    loaded = models.load(tmp_path)
    ids = tokenizer.encode("thinner<|end|>")
    np.testing.assert_array_equal(loaded.tokenizer.encode("thinner<|end|>"), ids)
    assert models.load(tmp_path, tokenizer=False).tokenizer is None
    small = Llama(LlamaConfig(261, 9, 8, 2, 1, 6), seed=0)
    small.tokenizer = tokenizer
    models.save(small, tmp_path)
    with pytest.raises(ValueError, match="its tokenizer has 262 tokens, the model only 261"):
        models.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer\.json.*tokenizer=False\) reads the weights"):
        models.load(tmp_path)
    assert models.load(tmp_path, tokenizer=False).config.vocab_size == 261


def test_a_gguf_llama_is_read_transposed_and_unshuffled(tmp_path):
    metadata, tensors, ours = model_files.tiny_llama(np.random.default_rng(0))
    path = tmp_path / "tiny.gguf"
    path.write_bytes(model_files.gguf(metadata, tensors))
    model = models.load(path, tokenizer=False)
    assert model.config == LlamaConfig(40, 19, 32, 6, 2, 96, 2, 4, 500.0, 1e-5)
    assert {name for name, _ in model.named_parameters()} == set(ours)
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(parameter.data, ours[name], err_msg=name)
    del tensors["output.weight"]
    path.write_bytes(model_files.gguf(metadata, tensors))
    tied = models.load(path, tokenizer=False)
    assert tied.config.tie_weights and "head.weight" not in tied.state_dict()


def test_gguf_qwens_have_biases_and_are_not_shuffled(tmp_path):
    metadata, tensors, _ = model_files.tiny_llama(np.random.default_rng(0), layers=1)
    metadata = {key.replace("llama.", "qwen2."): item for key, item in metadata.items()}
    metadata["general.architecture"] = "qwen2"
    biases = {}
    for part, size in (("query", 24), ("key", 8), ("value", 8)):
        biases[part] = np.arange(size, dtype="<f4") + size
        name = f"blk.0.attn_{part[0]}.bias"
        tensors[name] = ("F32", (size,), biases[part].tobytes())
    (tmp_path / "x.gguf").write_bytes(model_files.gguf(metadata, tensors))
    attention = models.load(tmp_path / "x.gguf", tokenizer=False).blocks[0].attention
    for part, bias in biases.items():
        np.testing.assert_array_equal(getattr(attention, part).bias.data, bias)
    stored = np.frombuffer(tensors["blk.0.attn_q.weight"][2], "<f4").reshape(24, 32)
    np.testing.assert_array_equal(attention.query.weight.data, stored.T)


def test_a_gguf_gpt2_has_its_attention_split(tmp_path):
    rng = np.random.default_rng(0)
    model = OURS["untied gpt-2"]
    metadata = {
        "general.architecture": "gpt2",
        "gpt2.context_length": 9,
        "gpt2.embedding_length": 24,
        "gpt2.block_count": 2,
        "gpt2.feed_forward_length": 96,
        "gpt2.attention.head_count": 3,
        "gpt2.attention.layer_norm_epsilon": (6, 0.125),
    }
    names = {"token_embedding": "token_embd", "position_embedding": "position_embd"}
    names |= {"norm": "output_norm", "head": "output"}
    names |= {"norm_1": "attn_norm", "attention.output": "attn_output", "norm_2": "ffn_norm"}
    names |= {"mlp.up": "ffn_up", "mlp.down": "ffn_down"}
    state, tensors, qkv = model.state_dict(), {}, {}
    for name, array in state.items():
        array = array if "embedding" in name or array.ndim == 1 else array.T
        stem, _, ending = name.rpartition(".")
        block, inner = ("", stem)
        if stem.startswith("blocks."):
            number, inner = stem.removeprefix("blocks.").split(".", 1)
            block = f"blk.{number}."
        if inner in ("attention.query", "attention.key", "attention.value"):
            qkv.setdefault(f"{block}attn_qkv.{ending}", []).append(array)
        else:
            tensors[f"{block}{names[inner]}.{ending}"] = array
    tensors |= {name: np.concatenate(parts) for name, parts in qkv.items()}
    shuffled = [list(tensors)[i] for i in rng.permutation(len(tensors))]
    tensors = {name: ("F32", tensors[name].shape, tensors[name].tobytes()) for name in shuffled}
    (tmp_path / "x.gguf").write_bytes(model_files.gguf(metadata, tensors))
    loaded = models.load(tmp_path / "x.gguf", tokenizer=False)
    assert loaded.config.activation == "gelu_tanh" and loaded.blocks[1].norm_1.eps == 0.125
    for name, array in loaded.state_dict().items():
        np.testing.assert_array_equal(array, state[name], err_msg=name)


def gguf_file(folder, change):
    """A tiny Llama's file after ``change(metadata, tensors)``."""
    metadata, tensors, _ = model_files.tiny_llama(np.random.default_rng(0))
    change(metadata, tensors)
    path = folder / "x.gguf"
    path.write_bytes(model_files.gguf(metadata, tensors))
    return path


def setting(name, item):
    return lambda metadata, tensors: metadata.update({name: item})


def tensor(name, item):
    return lambda metadata, tensors: tensors.update({name: item})


ROW = ("F32", (32,), bytes(128))
GGUF_TROUBLE = {
    "architecture": (
        setting("general.architecture", "mamba"),
        "general.architecture is 'mamba'; expected 'llama' or 'qwen2' or 'gpt2'",
    ),
    "no architecture": (
        lambda metadata, tensors: metadata.pop("general.architecture"),
        "general.architecture is missing",
    ),
    "no heads": (
        lambda metadata, tensors: metadata.pop("llama.attention.head_count"),
        "llama.attention.head_count is missing; expected an integer from 1 to",
    ),
    "heads per layer": (
        setting("llama.attention.head_count_kv", (4, [2, 2])),
        r"llama.attention.head_count_kv is array\(\[2, 2\].*; expected an integer",
    ),
    "odd heads": (setting("llama.attention.head_count_kv", 4), "not divisible by n_kv_heads 4"),
    "long context": (
        setting("llama.context_length", 2**32 - 1),
        "llama.context_length is 4294967295; expected an integer from 1 to 16,777,216",
    ),
    "eps": (
        setting("llama.attention.layer_norm_rms_epsilon", (6, 0.0)),
        "expected a positive number",
    ),
    "rope": (setting("llama.rope.scaling.type", "yarn"), "is 'yarn'; expected 'none', all that"),
    "partial rope": (setting("llama.rope.dimension_count", 2), "is 2; expected 4, all that"),
    "experts": (setting("llama.expert_count", 8), "llama.expert_count is 8; expected 0"),
    "vocabulary": (setting("llama.vocab_size", 41), "llama.vocab_size is 41; expected 40"),
    "a billion layers": (
        setting("llama.block_count", 10**7),
        "its config has 10,000,000 layers, its tensors have 2",
    ),
    "fewer layers": (
        setting("llama.block_count", 1),
        "its config has 1 layers, its tensors have 2",
    ),
    "no embedding": (
        lambda metadata, tensors: tensors.pop("token_embd.weight"),
        "tensor token_embd.weight is missing",
    ),
    "missing": (
        lambda metadata, tensors: tensors.pop("blk.1.attn_k.weight"),
        r"tensors are not those of the Llama it describes\n  missing: blk.1.attn_k.weight$",
    ),
    "unexpected": (tensor("blk.0.attn_q.bias2", ROW), "unexpected: blk.0.attn_q.bias2"),
    "shape": (
        setting("llama.feed_forward_length", 64),
        r"tensor blk.0.ffn_gate.weight has shape \(96, 32\) at byte [\d,]+, not \(64, 32\)",
    ),
    "kind": (
        tensor("output.weight", (16, (40, 256), bytes(40 * 66))),
        "tensor output.weight has shape",
    ),
    "integers": (
        tensor("output_norm.weight", (26, (32,), bytes(128))),
        "tensor output_norm.weight is stored as I32, which is not read here",
    ),
    "nan": (
        tensor("blk.1.ffn_norm.weight", ("F32", (32,), np.full(32, np.nan, "<f4").tobytes())),
        r"tensor blk.1.ffn_norm.weight \(F32, shape \(32,\), at byte [\d,]+\): the value at index "
        "0 is nan: it is not finite",
    ),
}


@pytest.mark.parametrize("what", GGUF_TROUBLE)
def test_a_gguf_file_at_odds_with_itself_is_refused(what, tmp_path):
    change, message = GGUF_TROUBLE[what]
    path = gguf_file(tmp_path, change)
    with pytest.raises(ValueError, match=message) as caught:
        models.load(path, tokenizer=False)
    assert str(caught.value).startswith(f"{path}: ")


def edited(folder, **changes):
    """Change config.json of a saved model; None takes a setting away."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


CONFIG_TROUBLE = {
    "model_type": ("bert", "model_type is 'bert'; expected 'llama'"),
    "hidden_size": ("24", "hidden_size is '24'; expected an integer"),
    "vocab_size": (2**31, "vocab_size is 2147483648; expected an integer from 1"),
    "num_hidden_layers": (3, "its config has 3 layers, its tensors have 2"),
    "num_attention_heads": (5, "config.json: LlamaConfig: n_heads 5 is not divisible by"),
    "intermediate_size": (21, r"gate_proj.weight has shape \(20, 24\) at byte .*, not \(21, 24\)"),
    "tie_word_embeddings": (1, "tie_word_embeddings is 1; expected true or false"),
    "attention_bias": (True, "missing: model.layers.0.self_attn.q_proj.bias, "),
    "rms_norm_eps": (float("nan"), "rms_norm_eps is nan; expected a positive number"),
    "hidden_act": ("gelu", "hidden_act is 'gelu'; expected 'silu', all that is computed here"),
    "rope_scaling": ({"rope_type": "llama3"}, "RoPE: rope_type is 'llama3'; expected 'default'"),
    "layer_types": (
        ["sliding_attention"] * 2,
        "layer_types is .*; expected 'full_attention' alone",
    ),
    "max_position_embeddings": (None, "max_position_embeddings is missing"),
}


@pytest.mark.parametrize("name", CONFIG_TROUBLE)
def test_a_config_that_is_not_computed_here_or_not_true_is_refused(name, tmp_path):
    pytest.importorskip("safetensors")
    models.save(OURS["llama"], tmp_path)
    item, message = CONFIG_TROUBLE[name]
    edited(tmp_path, **{name: item})
    with pytest.raises(ValueError, match=message) as caught:
        models.load(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "changes", "message"),
    [
        ("gpt-2", {"n_inner": 7}, "n_inner is 7; expected 96"),
        (
            "gpt-2",
            {"activation_function": "mish"},
            "activation_function is 'mish'; expected 'gelu_n",
        ),
        ("gpt-2", {"scale_attn_by_inverse_layer_idx": True}, "is True; expected False"),
        (
            "gpt-2",
            {"n_positions": 8},
            r"transformer.wpe.weight has shape \(9, 24\) .* not \(8, 24\)",
        ),
        (
            "qwen",
            {"use_sliding_window": True, "sliding_window": 8},
            "sliding_window is 8; expected",
        ),
        ("lecture", {"class": "Cell"}, "class is 'Cell'; expected 'GPT' or 'Llama'"),
        ("lecture", {"n_heads": 2**30}, "n_heads is 1073741824; expected an integer from 1"),
        ("lecture", {"vocab_size": None}, "missing 1 required positional argument: 'vocab_size'"),
    ],
)
def test_so_is_that_of_another_kind(kind, changes, message, tmp_path):
    pytest.importorskip("safetensors")
    models.save(OURS[kind], tmp_path)
    edited(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        models.load(tmp_path)


@pytest.mark.parametrize("kind", ["llama", "qwen", "gpt-2", "lecture"])
def test_any_setting_of_any_type_is_refused_or_harmless(kind, tmp_path):
    pytest.importorskip("safetensors")
    models.save(OURS[kind], tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for name in config:
        for item in (None, [], {}, "x", -1, 0, 1.5, True, 10**30, float("inf"), [1], {"a": 1}):
            edited(tmp_path, **{**config, name: item})
            refused = model_files.refusal(models.load, tmp_path)
            assert refused is None or str(tmp_path) in refused, (name, item)


TWO = {
    "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
    "b": {"dtype": "F16", "shape": [4], "data_offsets": [24, 32]},
}
DATA = bytes(32)


def with_entry(**changes):
    return {**TWO, "b": {**TWO["b"], **changes}}


BAD_SAFETENSORS = {
    "empty": (b"", "not a safetensors file: a JSON header must start at byte 8"),
    "foreign": (b"PK\3\4" + bytes(99), "not a safetensors file"),
    "header too long": (
        model_files.safetensors(TWO, DATA, 2**60),
        r"truncated or damaged: its header would take [\d,]+ bytes, the file has \d+ more",
    ),
    "header no JSON": (
        model_files.safetensors(b"{nonsense", DATA),
        "byte 8: the header is not JSON",
    ),
    "header too deep": (model_files.safetensors(b'{"a":' * 9999, DATA), "header is not JSON"),
    "truncated": (
        model_files.safetensors(TWO, DATA[:-1]),
        "truncated: tensor b ends at byte 168, the file has 167 bytes",
    ),
    "overlong": (
        model_files.safetensors(TWO, DATA + b"\0"),
        "overlong: 169 bytes, its last tensor ends at 168",
    ),
    "gap": (
        model_files.safetensors(with_entry(data_offsets=[25, 33]), DATA + b"\0"),
        "tensor b is said to begin at byte 161; expected 160",
    ),
    "overlap": (
        model_files.safetensors(with_entry(data_offsets=[0, 8]), DATA),
        "tensor a is said to begin at byte 134; expected 142",
    ),
    "wrong size": (
        model_files.safetensors(with_entry(shape=[5]), DATA),
        r"tensor b of shape \(5,\) in F16 takes 10 bytes; its offsets 24 to 32 give it 8",
    ),
    "negative": (
        model_files.safetensors(with_entry(shape=[-4]), DATA),
        "tensor b has the damaged entry",
    ),
    "huge": (
        model_files.safetensors(with_entry(shape=[2**62, 4]), DATA),
        "tensor b has the damaged",
    ),
    "no offsets": (model_files.safetensors({**TWO, "b": {}}, DATA), "tensor b has the damaged"),
    "no entry": (model_files.safetensors({**TWO, "b": 7}, DATA), "tensor b has the damaged"),
    "unknown dtype": (
        model_files.safetensors(with_entry(dtype="F2"), DATA),
        r"tensor b has the damaged entry .*unknown dtype 'F2'",
    ),
}


@pytest.mark.parametrize("what", BAD_SAFETENSORS)
def test_a_bad_safetensors_file_is_refused_with_the_place(what, tmp_path):
    pytest.importorskip("safetensors")
    content, message = BAD_SAFETENSORS[what]
    models.save(OURS["llama"], tmp_path)
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        models.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'model.safetensors'}: ")


def test_integers_are_no_weights(tmp_path):
    pytest.importorskip("safetensors")
    models.save(OURS["llama"], tmp_path)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"I32"', 1))
    message = "tensor model.embed_tokens.weight is stored as I32, which is not read here"
    with pytest.raises(ValueError, match=message):
        models.load(tmp_path)


def split(folder, parts=3):
    """Turn model.safetensors into shards with an index; returns the index."""
    from minigrad.models import safetensors

    arrays, _ = safetensors.load(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    homes = {name: f"model-{i % parts}.safetensors" for i, name in enumerate(arrays)}
    for home in set(homes.values()):
        chosen = {name: array for name, array in arrays.items() if homes[name] == home}
        safetensors.save(folder / home, chosen)
    index = {"metadata": {}, "weight_map": homes}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return index


def test_shards_are_read_as_one(tmp_path):
    pytest.importorskip("safetensors")
    models.save(OURS["biases"], tmp_path)
    split(tmp_path)
    assert_same(models.load(tmp_path), OURS["biases"])


def test_shards_that_do_not_fit_their_index_are_refused(tmp_path):
    pytest.importorskip("safetensors")
    models.save(OURS["llama"], tmp_path)
    path, index = tmp_path / "model.safetensors.index.json", split(tmp_path)
    for home in ("/etc/passwd", "../model-0.safetensors", "", "..", 7):
        homes = index["weight_map"] | {"lm_head.weight": home}
        path.write_text(json.dumps({"weight_map": homes}))
        with pytest.raises(ValueError, match=r"tensor lm_head.weight is said to be in"):
            models.load(tmp_path)
    wrong = "model-0.safetensors"
    wrong = wrong if index["weight_map"]["lm_head.weight"] != wrong else "model-1.safetensors"
    path.write_text(json.dumps({"weight_map": index["weight_map"] | {"lm_head.weight": wrong}}))
    with pytest.raises(ValueError, match=f"{wrong}: tensor lm_head.weight is missing"):
        models.load(tmp_path)
    path.write_text(json.dumps(index))
    (tmp_path / "model-2.safetensors").write_bytes((tmp_path / "model-1.safetensors").read_bytes())
    with pytest.raises(ValueError, match="is missing, which the index expects here"):
        models.load(tmp_path)
    (tmp_path / "model-2.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model-2.safetensors"):
        models.load(tmp_path)
    path.write_text("[]")
    with pytest.raises(ValueError, match="holds a JSON list; expected an object"):
        models.load(tmp_path)


def test_weights_that_are_not_finite_or_too_large_are_refused(tmp_path):
    pytest.importorskip("safetensors")
    model = Llama(OURS["llama"].config, seed=0)
    model.blocks[1].mlp.down.weight.data[17, 5] = 1e5
    models.save(model, tmp_path)
    assert models.load(tmp_path, "bfloat16").blocks[1].mlp.down.weight.data[17, 5] == 99_840
    message = (
        r"tensor model.layers.1.mlp.down_proj.weight \(F32, shape \(24, 20\), at byte [\d,]+\): "
    )
    message += "the value at row 5, column 17 is 100000: it does not fit into float16"
    with pytest.raises(ValueError, match=message):
        models.load(tmp_path, "float16")
    model.blocks[0].norm_1.weight.data[7] = np.nan
    models.save(model, tmp_path)
    with pytest.raises(ValueError, match=r"input_layernorm.* at index 7 is nan: it is not finite"):
        models.load(tmp_path)


def test_what_is_not_there_or_no_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="known by name: smollm2-135m-instruct"):
        models.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        models.load(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(FileNotFoundError, match=r"neither model.safetensors nor .*pickled"):
        models.load(tmp_path)
    with pytest.raises(ValueError, match="not a GGUF file"):
        models.load(tmp_path / "config.json")
    with pytest.raises(ValueError, match="load the folder that holds both, or a checkpoint"):
        models.load(tmp_path / "model.safetensors")
    with pytest.raises(TypeError, match="unknown dtype 'float33'"):
        models.load(tmp_path, "float33")
    with pytest.raises(TypeError, match="expected a float dtype, got int64"):
        models.load(tmp_path, "int64")
    with pytest.raises(TypeError, match="expected a GPT or Llama, got Linear"):
        models.save(mg.nn.Linear(2, 3), tmp_path)


def safetensors_mutations(folder, count, seed):
    """How often a damaged file was refused, and loaded all the same."""
    models.save(OURS["shared keys"], folder)
    path, outcomes = folder / "model.safetensors", {"refused": 0, "loaded": 0}
    content = path.read_bytes()
    tracemalloc.start()
    try:
        for i, damaged in enumerate(model_files.mutations(content, count, seed)):
            tracemalloc.reset_peak()
            path.write_bytes(damaged)
            refused = model_files.refusal(models.load, folder)
            assert refused is None or str(folder) in refused, f"mutation {i}: {refused}"
            outcomes["refused" if refused else "loaded"] += 1
            assert tracemalloc.get_traced_memory()[1] < 20e6, f"mutation {i}"
    finally:
        tracemalloc.stop()
    return outcomes


def test_damaged_safetensors_are_refused_or_read_never_more(tmp_path):
    pytest.importorskip("safetensors")
    outcomes = safetensors_mutations(tmp_path, 300, seed=0)
    assert min(outcomes.values()) > 20, outcomes


@pytest.mark.slow
def test_thousands_of_damaged_safetensors_are_refused_or_read(tmp_path):
    pytest.importorskip("safetensors")
    outcomes = safetensors_mutations(tmp_path, 5_000, seed=1)
    assert min(outcomes.values()) > 500, outcomes


THEIRS = {
    "llama": ("Llama", dict(num_attention_heads=6, num_key_value_heads=6)),
    "llama, 3 queries a key": ("Llama", dict(num_attention_heads=6, num_key_value_heads=2)),
    "llama, 8 queries a key": (
        "Llama",
        dict(num_attention_heads=8, num_key_value_heads=1, head_dim=6, tie_word_embeddings=True),
    ),
    "llama with biases": (
        "Llama",
        dict(num_attention_heads=4, num_key_value_heads=2, attention_bias=True, mlp_bias=True),
    ),
    "qwen": ("Qwen2", dict(num_attention_heads=6, num_key_value_heads=2, rms_norm_eps=1e-3)),
    "tied qwen": (
        "Qwen2",
        dict(num_attention_heads=6, num_key_value_heads=3, tie_word_embeddings=True),
    ),
    "mistral": (
        "Mistral",
        dict(num_attention_heads=4, num_key_value_heads=1, sliding_window=None, head_dim=6),
    ),
    "gpt-2": ("GPT2", dict(n_embd=24, n_head=3, n_layer=2, n_positions=9)),
    "gpt-2 with another eps, untied": (
        "GPT2",
        dict(
            **dict(n_embd=24, n_head=3, n_layer=2, n_positions=9, layer_norm_epsilon=0.01),
            tie_word_embeddings=False,
            activation_function="gelu",
        ),
    ),
}
MODEL_CLASS = {name: f"{name}ForCausalLM" for name in ("Llama", "Qwen2", "Mistral")}
MODEL_CLASS["GPT2"] = "GPT2LMHeadModel"
SIZES = dict(hidden_size=24, intermediate_size=20, num_hidden_layers=2, max_position_embeddings=9)


def their_model(kind, dtype):
    """A random model of transformers, no parameter of which is 0 or 1 throughout."""
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    name, settings = THEIRS[kind]
    settings = settings if name == "GPT2" else SIZES | dict(rope_theta=300.0) | settings
    config = getattr(transformers, f"{name}Config")(vocab_size=13, **settings)
    torch.manual_seed(0)
    model = getattr(transformers, MODEL_CLASS[name])(config).to(getattr(torch, dtype)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, dtype=torch.float64).to(parameter.dtype)
    return model


def their_logits(model, ids=IDS):
    import torch

    with torch.no_grad():
        return model(torch.tensor(ids)).logits.numpy()


@pytest.mark.reference
@pytest.mark.parametrize("shard", ["1GB", "5KB"])
@pytest.mark.parametrize("kind", THEIRS)
def test_models_saved_by_transformers_give_the_same_logits(kind, shard, tmp_path):
    pytest.importorskip("safetensors")
    theirs = their_model(kind, "float64")
    theirs.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors").exists() == (shard == "1GB")
    with mg.no_grad():
        logits = models.load(tmp_path, "float64")(IDS).numpy()
    np.testing.assert_allclose(logits, their_logits(theirs), rtol=1e-6, atol=1e-6)


@pytest.mark.reference
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["qwen", "gpt-2"])
def test_half_precision_files_hold_what_transformers_put_there(kind, dtype, tmp_path):
    pytest.importorskip("safetensors")
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    their_model(kind, dtype).save_pretrained(tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    model = models.load(tmp_path)
    with mg.no_grad():
        logits = model(IDS).numpy()
    np.testing.assert_allclose(logits, their_logits(theirs), rtol=1e-4, atol=1e-4)
    half = models.load(tmp_path, dtype)
    for name, parameter in half.named_parameters():
        wide = dict(model.named_parameters())[name].data
        np.testing.assert_array_equal(parameter.data.astype(np.float32), wide, err_msg=name)


@pytest.mark.reference
@pytest.mark.parametrize(
    "kind", ["llama", "shared keys", "wide heads", "biases", "qwen", "gpt-2", "untied gpt-2"]
)
def test_transformers_reads_what_is_saved_here(kind, tmp_path):
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    models.save(OURS[kind], tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    with mg.no_grad():
        logits = OURS[kind](IDS).numpy()
    np.testing.assert_allclose(their_logits(theirs), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.reference
@needs_smollm2
def test_smollm2_knows_the_capital_of_france():
    model = models.load("smollm2-135m-instruct")
    tokenizer = model.tokenizer
    question = "What is the capital of France? Answer in one sentence."
    prompt = tokenizer.chat_template.render(
        [{"role": "user", "content": question}], add_generation_prompt=True
    )
    ids = tokenizer.encode(prompt)
    length = len(ids)
    with mg.no_grad():
        for _ in range(7):
            ids = np.append(ids, model(ids[None], last=True).numpy().argmax())
    assert tokenizer.decode(ids[length:]) == "The capital of France is Paris."


MEASURE = """
model = mg.models.load(sys.argv[1])
done = True
watcher.join()
print((peak - start) / sum(p.data.nbytes for p in model.parameters()))
"""


@pytest.mark.reference
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@needs_smollm2
def test_loading_smollm2_takes_little_more_memory_than_its_weights(tmp_path):
    measured = subprocess.run(
        [sys.executable, "-c", WATCH_MEMORY + MEASURE, SMOLLM2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert 0.9 < float(measured.stdout) < 1.25
