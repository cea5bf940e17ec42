"""Inference: making a trained model write."""

from minigrad.inference import metrics
from minigrad.inference.beams import Beams, BeamSearch, Hypothesis, Node
from minigrad.inference.caches import Cache, KVCache, LatentCache, cache_for
from minigrad.inference.decoding import Decoding, Greedy, Run, SideBySide, Step
from minigrad.inference.filters import (
    min_p_filter,
    repetition_penalty,
    top_k_filter,
    top_p_filter,
)
from minigrad.inference.generate import generate, stream
from minigrad.inference.sampling import Sample, Window, sample

__all__ = [
    "BeamSearch",
    "Beams",
    "Cache",
    "Decoding",
    "Greedy",
    "Hypothesis",
    "KVCache",
    "LatentCache",
    "Node",
    "Run",
    "Sample",
    "SideBySide",
    "Step",
    "Window",
    "cache_for",
    "generate",
    "metrics",
    "min_p_filter",
    "repetition_penalty",
    "sample",
    "stream",
    "top_k_filter",
    "top_p_filter",
]
