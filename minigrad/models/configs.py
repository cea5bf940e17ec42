"""Which settings of a file make which config: Hugging Face's config.json and GGUF's metadata.

Only what minigrad computes as the file means it is accepted. A setting that would change the
results is an error that names it, never passed over.
"""

import math
from dataclasses import fields
from typing import NamedTuple

import numpy as np

from minigrad import nn
from minigrad.models import mapping
from minigrad.models.gpt import GPT, GPTConfig
from minigrad.models.llama import Llama, LlamaConfig

LARGEST = 2**24  # of any size in a config: more than any model has, and no product overflows
OURS = {"GPT": (GPT, GPTConfig), "Llama": (Llama, LlamaConfig)}
GELU = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu": "gelu", "relu": "relu"}


class Plan(NamedTuple):
    """A model that a file describes: its class and config, where the file has what, and the eps of
    its layer norms where the config does not say."""

    model: type
    config: object
    layout: mapping.Layout
    norm_eps: float | None = None

    def build(self):
        """The model, with shapes but no values yet, and ready to be used, not trained."""
        with nn.init.skipped():
            model = self.model(self.config)
        for _, module in model.named_modules():
            if self.norm_eps is not None and isinstance(module, nn.LayerNorm):
                module.eps = self.norm_eps
        return model.eval()


class Settings:
    """A file's settings by name, with errors that name the file, the setting and its value."""

    def __init__(self, path, values, prefix=""):
        self.path, self.values, self.prefix = path, values, prefix

    def get(self, name, default=None):
        """The value, or the default where there is none (or null)."""
        value = self.values.get(self.prefix + name)
        return default if value is None else value

    def refuse(self, name, expected):
        """Raise ValueError that says what the setting is, and what it should be."""
        shown = "missing" if self.get(name) is None else repr(self.get(name))
        shown = shown if len(shown) < 200 else shown[:200] + "…"
        raise ValueError(f"{self.path}: {self.prefix}{name} is {shown}; expected {expected}")

    def size(self, name, default=None):
        """An integer from 1 to LARGEST."""
        value = self.get(name, default)
        if type(value) is not int or not 1 <= value <= LARGEST:
            self.refuse(name, f"an integer from 1 to {LARGEST:,}")
        return value

    def number(self, name, default=None):
        """A positive float."""
        value = self.get(name, default)
        if type(value) not in (int, float) or not 0 < value < math.inf:
            self.refuse(name, "a positive number")
        return float(value)

    def flag(self, name, default=False):
        """A bool."""
        value = self.get(name, default)
        if type(value) is not bool:
            self.refuse(name, "true or false")
        return value

    def only(self, name, *allowed):
        """Raise ValueError unless the value is one of these (or missing)."""
        value = self.get(name, allowed[0])
        if not any(type(value) is type(each) and value == each for each in allowed):
            self.refuse(name, " or ".join(map(repr, allowed)) + ", all that is computed here")


def of_folder(folder):
    """The Plan of a Hugging Face folder. Raises ValueError for what is not computed here."""
    s = Settings(folder.path / "config.json", folder.config)
    kinds = {
        "llama": _hf_llama,
        "mistral": _hf_llama,
        "qwen2": _hf_llama,
        "gpt2": _hf_gpt2,
        "minigrad": _ours,
    }
    kind = s.get("model_type")
    if not isinstance(kind, str) or kind not in kinds:
        s.refuse("model_type", " or ".join(map(repr, kinds)))
    return kinds[kind](s, folder.tensors)


def _hf_llama(s, tensors):
    rope = s.get("rope_parameters") or s.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        s.refuse("rope_parameters" if s.get("rope_parameters") else "rope_scaling", "an object")
    rope = Settings(f"{s.path}: RoPE", rope)
    rope.only("rope_type", "default")
    rope.only("type", "default")
    s.only("hidden_act", "silu")
    s.only("partial_rotary_factor", 1.0, 1)
    context_length = s.size("max_position_embeddings")
    if s.get("use_sliding_window", s.get("model_type") == "mistral") is not False:
        window = s.get("sliding_window", context_length)
        if type(window) is not int or window < context_length:
            s.refuse("sliding_window", f"null or at least {context_length}, the whole context")
    types = s.get("layer_types", [])
    if not isinstance(types, list) or any(kind != "full_attention" for kind in types):
        s.refuse("layer_types", "'full_attention' alone")
    qwen, biases = s.get("model_type") == "qwen2", s.flag("attention_bias")
    config = _config(
        s,
        LlamaConfig,
        vocab_size=s.size("vocab_size"),
        context_length=context_length,
        d_model=s.size("hidden_size"),
        n_heads=s.size("num_attention_heads"),
        n_layers=s.size("num_hidden_layers"),
        d_hidden=s.size("intermediate_size"),
        n_kv_heads=s.size("num_key_value_heads", s.size("num_attention_heads")),
        d_head=None if s.get("head_dim") is None else s.size("head_dim"),
        rope_base=rope.number("rope_theta", s.number("rope_theta", 10_000.0)),
        norm_eps=s.number("rms_norm_eps"),
        tie_weights=s.flag("tie_word_embeddings"),
        qkv_bias=qwen or biases,
        output_bias=biases and not qwen,
        mlp_bias=s.flag("mlp_bias"),
    )
    return Plan(Llama, config, mapping.HF_LLAMA)


def _hf_gpt2(s, tensors):
    s.only("scale_attn_weights", True)
    s.only("scale_attn_by_inverse_layer_idx", False)
    s.only("add_cross_attention", False)
    s.only("n_inner", 4 * s.size("n_embd"))
    if s.get("activation_function") not in list(GELU):
        s.refuse("activation_function", " or ".join(map(repr, GELU)))
    config = _config(
        s,
        GPTConfig,
        vocab_size=s.size("vocab_size"),
        context_length=s.size("n_positions"),
        d_model=s.size("n_embd"),
        n_heads=s.size("n_head"),
        n_layers=s.size("n_layer"),
        activation=GELU[s.get("activation_function")],
        bias=True,
        tie_weights=s.flag("tie_word_embeddings", True),
    )
    layout = mapping.HF_GPT2
    if not any(name.startswith("transformer.") for name in tensors):
        layout = layout.without("transformer.")
    return Plan(GPT, config, layout, s.number("layer_norm_epsilon"))


def _config(s, cls, **settings):
    try:
        return cls(**settings)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{s.path}: {error}") from error


def _ours(s, tensors):
    if s.get("class") not in list(OURS):
        s.refuse("class", " or ".join(map(repr, OURS)))
    model, config = OURS[s.get("class")]
    known = {field.name for field in fields(config)}
    given = {name: value for name, value in s.values.items() if name in known}
    for name, value in given.items():
        if type(value) is int:
            s.size(name)
    config = _config(s, config, **given)
    norm_eps = s.number("norm_eps") if model is GPT and config.norm == "layernorm" else None
    return Plan(model, config, mapping.OURS, norm_eps)


def of_gguf(file):
    """The Plan of a GGUF file. Raises ValueError for what is not computed here."""
    kinds = {"llama": _gguf_llama, "qwen2": _gguf_llama, "gpt2": _gguf_gpt2}
    s = Settings(file.path, file.metadata)
    kind = s.get("general.architecture")
    if not isinstance(kind, str) or kind not in kinds:
        s.refuse("general.architecture", " or ".join(map(repr, kinds)))
    s = Settings(file.path, file.metadata, kind + ".")
    return kinds[kind](s, file.tensors)


def _gguf_llama(s, tensors):
    n_heads = s.size("attention.head_count")
    n_kv_heads = s.size("attention.head_count_kv", n_heads)
    d_model = s.size("embedding_length")
    d_head = s.size("attention.key_length", max(1, d_model // n_heads))
    s.only("attention.value_length", d_head)
    s.only("rope.dimension_count", d_head)
    s.only("rope.scaling.type", "none")
    s.only("rope.scale_linear", 1.0)
    s.only("expert_count", 0)
    config = _config(
        s,
        LlamaConfig,
        vocab_size=_vocab_size(s, tensors),
        context_length=s.size("context_length"),
        d_model=d_model,
        n_heads=n_heads,
        n_layers=s.size("block_count"),
        d_hidden=s.size("feed_forward_length"),
        n_kv_heads=n_kv_heads,
        d_head=d_head,
        rope_base=s.number("rope.freq_base", 10_000.0),
        norm_eps=_decimal(s.number("attention.layer_norm_rms_epsilon")),
        tie_weights="output.weight" not in tensors,
        qkv_bias=s.prefix == "qwen2." or "blk.0.attn_q.bias" in tensors,
        output_bias="blk.0.attn_output.bias" in tensors,
        mlp_bias="blk.0.ffn_up.bias" in tensors,
    )
    layout = mapping.GGUF_LLAMA
    if s.prefix == "llama.":
        layout = layout._replace(heads={"query": n_heads, "key": n_kv_heads})
    return Plan(Llama, config, layout)


def _gguf_gpt2(s, tensors):
    s.only("feed_forward_length", 4 * s.size("embedding_length"))
    config = _config(
        s,
        GPTConfig,
        vocab_size=_vocab_size(s, tensors),
        context_length=s.size("context_length"),
        d_model=s.size("embedding_length"),
        n_heads=s.size("attention.head_count"),
        n_layers=s.size("block_count"),
        activation="gelu_tanh",
        bias=True,
        tie_weights="output.weight" not in tensors,
    )
    norm_eps = _decimal(s.number("attention.layer_norm_epsilon"))
    return Plan(GPT, config, mapping.GGUF_GPT2, norm_eps)


def _vocab_size(s, tensors):
    """As many as the embedding has rows: most files do not say otherwise."""
    if "token_embd.weight" not in tensors:
        raise ValueError(f"{s.path}: tensor token_embd.weight is missing")
    rows = tensors["token_embd.weight"].shape[0]
    s.only("vocab_size", rows)
    return rows


def _decimal(value):
    """A float32 as the decimal number that was meant: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))
