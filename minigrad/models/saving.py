"""Writing a model as a folder that Hugging Face's libraries read too."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from minigrad.files import replacing
from minigrad.models import mapping, safetensors
from minigrad.models.configs import GELU, OURS
from minigrad.models.folder import CONFIG, SINGLE
from minigrad.models.gpt import GPT, GPTConfig
from minigrad.models.llama import Llama

TOKENIZER = "tokenizer.json"


def save(model, folder):
    """Write a GPT or Llama, with its tokenizer if it has one, into a folder; ``load`` reads it.

    config.json and model.safetensors are what Hugging Face's libraries expect, unless the model has
    settings that none of theirs has (a lecture's block, latent attention): then only minigrad
    reads them. Each file is replaced in one step; others in the folder stay as they are.

    Raises TypeError for another model, OSError when the folder cannot be written.
    """
    if type(model).__name__ not in OURS:
        names = " or ".join(OURS)
        raise TypeError(f"models.save: expected a {names}, got {type(model).__name__}")
    config, layout = to_hugging_face(model)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    parts = {}
    for name, parameter in model.named_parameters():
        place = layout.place(name)
        array = parameter.numpy()
        parts.setdefault(place.tensor, {})[place.part[0]] = array.T if place.transpose else array
    arrays = {
        name: np.concatenate([some[i] for i in sorted(some)], axis=-1) if len(some) > 1 else some[0]
        for name, some in parts.items()
    }
    safetensors.save(folder / SINGLE, arrays, {"format": "pt"})
    if getattr(model, "tokenizer", None) is not None:
        model.tokenizer.save(folder / TOKENIZER)
    with replacing(folder / CONFIG, "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)
        file.write("\n")


def to_hugging_face(model):
    """(what config.json is to say, Layout) for a model.

    Settings that no model of theirs has are written in a form of our own, which only minigrad
    reads: ``"model_type": "minigrad"`` and the fields of the config.
    """
    c = model.config
    if isinstance(model, Llama):
        qwen = c.qkv_bias and not c.mlp_bias
        if not c.d_latent and (c.qkv_bias == c.output_bias or qwen):
            return _to_llama(c), mapping.HF_LLAMA
    else:
        drawn = GPTConfig(
            *(c.vocab_size, c.context_length, c.d_model, c.n_heads, c.n_layers),
            activation=c.activation,
            bias=True,
            tie_weights=c.tie_weights,
            dropout=c.dropout,
        )
        if c == drawn:
            return _to_gpt2(c, model.norm.eps), mapping.HF_GPT2
    ours = {"model_type": "minigrad", "class": type(model).__name__, **asdict(c)}
    if isinstance(model, GPT) and c.norm == "layernorm":
        ours["norm_eps"] = model.blocks[0].norm_1.eps
    return ours, mapping.OURS


def _to_llama(c):
    qwen = c.qkv_bias and not c.output_bias
    return {
        "architectures": ["Qwen2ForCausalLM" if qwen else "LlamaForCausalLM"],
        "model_type": "qwen2" if qwen else "llama",
        "vocab_size": c.vocab_size,
        "max_position_embeddings": c.context_length,
        "hidden_size": c.d_model,
        "num_attention_heads": c.n_heads,
        "num_key_value_heads": c.n_kv_heads,
        "num_hidden_layers": c.n_layers,
        "intermediate_size": c.d_hidden,
        "head_dim": c.d_head,
        "hidden_act": "silu",
        "rope_theta": c.rope_base,
        "rms_norm_eps": c.norm_eps,
        "tie_word_embeddings": c.tie_weights,
        "attention_bias": c.qkv_bias,
        "mlp_bias": c.mlp_bias,
    }


def _to_gpt2(c, norm_eps):
    activation = next(theirs for theirs, ours in GELU.items() if ours == c.activation)
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": c.vocab_size,
        "n_positions": c.context_length,
        "n_embd": c.d_model,
        "n_head": c.n_heads,
        "n_layer": c.n_layers,
        "activation_function": activation,
        "layer_norm_epsilon": norm_eps,
        "tie_word_embeddings": c.tie_weights,
    }
