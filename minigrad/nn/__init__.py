"""Neural networks: modules, layers, attention and initialisers."""

from minigrad.nn import init
from minigrad.nn.attention import MultiHeadAttention, TransformerBlock
from minigrad.nn.experts import MixtureOfExperts, auxiliary_loss
from minigrad.nn.functional import functional_call
from minigrad.nn.latent import MultiHeadLatentAttention
from minigrad.nn.layers import (
    MLP,
    Dropout,
    Embedding,
    Identity,
    LayerNorm,
    Linear,
    RMSNorm,
    SwiGLU,
)
from minigrad.nn.module import Module, ModuleList, Parameter, Sequential
from minigrad.nn.rotary import rotary_tables

__all__ = [
    "MLP",
    "Dropout",
    "Embedding",
    "Identity",
    "LayerNorm",
    "Linear",
    "MixtureOfExperts",
    "Module",
    "ModuleList",
    "MultiHeadAttention",
    "MultiHeadLatentAttention",
    "Parameter",
    "RMSNorm",
    "Sequential",
    "SwiGLU",
    "TransformerBlock",
    "auxiliary_loss",
    "functional_call",
    "init",
    "rotary_tables",
]
