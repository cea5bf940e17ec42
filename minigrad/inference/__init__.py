"""Inference: making a trained model write."""

from minigrad.inference.sampling import sample, stream, top_k_filter, top_p_filter

__all__ = ["sample", "stream", "top_k_filter", "top_p_filter"]
