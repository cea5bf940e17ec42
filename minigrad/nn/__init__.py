"""Neural networks: modules, layers, attention and initialisers."""

from minigrad.nn import init
from minigrad.nn.attention import MultiHeadAttention, TransformerBlock
from minigrad.nn.functional import functional_call
from minigrad.nn.layers import MLP, Dropout, Embedding, Identity, LayerNorm, Linear, RMSNorm
from minigrad.nn.module import Module, ModuleList, Parameter, Sequential

__all__ = [
    "MLP",
    "Dropout",
    "Embedding",
    "Identity",
    "LayerNorm",
    "Linear",
    "Module",
    "ModuleList",
    "MultiHeadAttention",
    "Parameter",
    "RMSNorm",
    "Sequential",
    "TransformerBlock",
    "functional_call",
    "init",
]
