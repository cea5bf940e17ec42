"""Which tensor of a file is which parameter.

Hugging Face's files keep a linear weight as (out, in), but GPT-2's as (in, out) with query, key and
value side by side; GGUF keeps (out, in), and in Llama's queries and keys the two halves that RoPE
turns together are interleaved. Minigrad's weights are (in, out), each for itself.
"""

import re
from types import MappingProxyType
from typing import NamedTuple

from minigrad.models.source import Place

LINEAR = ("query", "key", "value", "output", "gate", "up", "down", "head")
QKV = ("query", "key", "value")


class Layout(NamedTuple):
    """How a file names and lays out parameters.

    names: {our name with * for a block's number and without ``.weight``: theirs}. transposed:
    whether linear weights are (out, in); the head's always is. fused: whether query, key and value
    are one tensor. heads: {"query": n_h, "key": n_kv} where their rows are interleaved. ignored: a
    pattern of tensors that are no parameters. Without names, all is as in minigrad.
    """

    names: dict
    transposed: bool = True
    fused: bool = False
    heads: dict = MappingProxyType({})
    ignored: str = r"(?!)"

    def place(self, parameter):
        """The Place of a parameter, by its dotted name."""
        if not self.names:
            return Place(parameter)
        number = re.search(r"\.(\d+)\.", parameter)
        stem, _, ending = re.sub(r"\.\d+\.", ".*.", parameter).rpartition(".")
        last, theirs = stem.rpartition(".")[2], self.names[stem]
        return Place(
            f"{theirs}.{ending}".replace("*", number[1] if number else "*"),
            transpose=ending == "weight" and last in LINEAR and (self.transposed or last == "head"),
            part=(QKV.index(last), 3) if self.fused and last in QKV else (0, 1),
            heads=self.heads.get(last, 0),
        )

    def without(self, prefix):
        """The same with names that lack this prefix."""
        bare = {ours: theirs.removeprefix(prefix) for ours, theirs in self.names.items()}
        return self._replace(names=bare)


OURS = Layout({})
HF_LLAMA = Layout(
    {
        "token_embedding": "model.embed_tokens",
        "blocks.*.norm_1": "model.layers.*.input_layernorm",
        "blocks.*.attention.query": "model.layers.*.self_attn.q_proj",
        "blocks.*.attention.key": "model.layers.*.self_attn.k_proj",
        "blocks.*.attention.value": "model.layers.*.self_attn.v_proj",
        "blocks.*.attention.output": "model.layers.*.self_attn.o_proj",
        "blocks.*.norm_2": "model.layers.*.post_attention_layernorm",
        "blocks.*.mlp.gate": "model.layers.*.mlp.gate_proj",
        "blocks.*.mlp.up": "model.layers.*.mlp.up_proj",
        "blocks.*.mlp.down": "model.layers.*.mlp.down_proj",
        "norm": "model.norm",
        "head": "lm_head",
    },
    ignored=r"\.rotary_emb\.inv_freq$",
)
HF_GPT2 = Layout(
    {
        "token_embedding": "transformer.wte",
        "position_embedding": "transformer.wpe",
        "blocks.*.norm_1": "transformer.h.*.ln_1",
        "blocks.*.attention.query": "transformer.h.*.attn.c_attn",
        "blocks.*.attention.key": "transformer.h.*.attn.c_attn",
        "blocks.*.attention.value": "transformer.h.*.attn.c_attn",
        "blocks.*.attention.output": "transformer.h.*.attn.c_proj",
        "blocks.*.norm_2": "transformer.h.*.ln_2",
        "blocks.*.mlp.up": "transformer.h.*.mlp.c_fc",
        "blocks.*.mlp.down": "transformer.h.*.mlp.c_proj",
        "norm": "transformer.ln_f",
        "head": "lm_head",
    },
    transposed=False,
    fused=True,
    ignored=r"\.attn\.(masked_)?bias$",  # causal masks
)
GGUF_LLAMA = Layout(
    {
        "token_embedding": "token_embd",
        "blocks.*.norm_1": "blk.*.attn_norm",
        "blocks.*.attention.query": "blk.*.attn_q",
        "blocks.*.attention.key": "blk.*.attn_k",
        "blocks.*.attention.value": "blk.*.attn_v",
        "blocks.*.attention.output": "blk.*.attn_output",
        "blocks.*.norm_2": "blk.*.ffn_norm",
        "blocks.*.mlp.gate": "blk.*.ffn_gate",
        "blocks.*.mlp.up": "blk.*.ffn_up",
        "blocks.*.mlp.down": "blk.*.ffn_down",
        "norm": "output_norm",
        "head": "output",
    }
)
GGUF_GPT2 = Layout(
    GGUF_LLAMA.names
    | {"position_embedding": "position_embd"}
    | {f"blocks.*.attention.{part}": "blk.*.attn_qkv" for part in QKV},
    fused=True,
)
