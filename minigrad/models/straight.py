"""The way straight through a Llama's block for one new token on the CPU."""

import importlib

import numpy as np

from minigrad import engine, nn


def block(module, x, mask, rotary, remember):
    """What ``LlamaBlock.forward`` computes from the same arguments, in two compiled calls.

    Returns None where the modules have to do it: for several tokens, on other devices, in other
    dtypes, with latent attention, inside transforms, or when kernels are switched off.
    """
    attention, mlp = module.attention, module.mlp
    plain = x.level == engine.CONSTANT and type(x.data) is np.ndarray and x.shape[1] == 1
    if not plain or not engine.kernels_on():
        return None
    if type(attention) is not nn.MultiHeadAttention or rotary is None:
        return None
    kernel = importlib.import_module("minigrad.cpu.llama_block")
    layers = attention.query, attention.key, attention.value, attention.output
    attention_arrays = [array for layer in layers for array in _arrays(layer)]
    mlp_arrays = [array for layer in (mlp.gate, mlp.up, mlp.down) for array in _arrays(layer)]
    norms = [(norm.weight.data, norm.eps) for norm in (module.norm_1, module.norm_2)]
    gains = [gain for gain, _ in norms]
    if not kernel.supports([*attention_arrays, *mlp_arrays, *gains], x.data):
        return None
    visible = None if mask is None else mask[:, 0, 0]
    heads = attention.n_heads, attention.n_kv_heads, attention.d_head
    y = kernel.run(norms, attention_arrays, mlp_arrays, x.data, visible, rotary, heads, remember)
    return None if y is None else engine.box(y)


def _arrays(layer):
    return layer.weight.data, None if layer.bias is None else layer.bias.data
