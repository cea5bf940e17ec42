"""The way straight through a Llama's block for one new token on the CPU."""

import importlib

import numpy as np

from minigrad import engine, nn


def block(module, x, mask, rotary, remember):
    """What ``LlamaBlock.forward`` computes from the same arguments, in two compiled calls.

    Returns None where the modules have to do it: for several tokens, on other devices, in other
    dtypes, with latent attention or layers that somebody has exchanged, inside transforms, while
    looking for NaN, or when kernels are switched off.
    """
    if not (_is_one_constant_token(x) and engine.kernels_on() and not engine.seeks_anomalies()):
        return None
    attention, mlp, norms = module.attention, module.mlp, (module.norm_1, module.norm_2)
    if type(attention) is not nn.MultiHeadAttention or type(mlp) is not nn.SwiGLU or rotary is None:
        return None
    if "attend" in vars(attention):
        return None  # it attends across ranks
    layers = attention.query, attention.key, attention.value, attention.output
    layers += mlp.gate, mlp.up, mlp.down
    usual = {*map(type, norms)} == {nn.RMSNorm} and {*map(type, layers)} == {nn.Linear}
    if not usual or (attention.dropout.p and attention.dropout.training):
        return None
    parameters = [norm.weight for norm in norms]
    parameters += [parameter for layer in layers for parameter in (layer.weight, layer.bias)]
    if max(each.level for each in parameters if each is not None) > engine.AMBIENT:
        return None  # a transform has hold of one
    arrays = [None if each is None else each.data for each in parameters]
    visible = _visible(mask, x)
    heads = attention.n_heads, attention.n_kv_heads, attention.d_head
    kernel = importlib.import_module("minigrad.cpu.llama_block")
    if visible is None or not kernel.supports(x.data, arrays[:2], arrays[2:], rotary, heads):
        return None
    norms = [(gain, norm.eps) for gain, norm in zip(arrays, norms)]
    y = kernel.run(x.data, norms, arrays[2:], visible, rotary, heads, remember)
    return None if y is None else engine.box(y)


def _is_one_constant_token(x):
    return x.level == engine.CONSTANT and type(x.data) is np.ndarray and x.shape[1] == 1


def _visible(mask, x):
    """A mask (B, 1, 1, T) as (B, T), no mask as (B, 0), and others as None."""
    if mask is None:
        return np.empty((len(x), 0), bool)
    usual = mask.ndim == 4 and mask.dtype == bool and mask.shape[:3] == (len(x), 1, 1)
    return mask[:, 0, 0] if usual and type(mask) is np.ndarray else None
