"""Inference: making a trained model write."""

from minigrad.inference.caches import Cache, KVCache, LatentCache, cache_for
from minigrad.inference.decoding import Decoding, Greedy, Run, Step
from minigrad.inference.generate import generate, stream
from minigrad.inference.sampling import sample, top_k_filter, top_p_filter

__all__ = [
    "Cache",
    "Decoding",
    "Greedy",
    "KVCache",
    "LatentCache",
    "Run",
    "Step",
    "cache_for",
    "generate",
    "sample",
    "stream",
    "top_k_filter",
    "top_p_filter",
]
