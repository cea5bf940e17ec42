"""Gradients of many parameters in one message."""

import numpy as np

from minigrad.tensor import Tensor


def all_reduce_gradients(parameters, comm, op="sum"):
    """Replace each gradient by the sum (or op="mean") over ranks: one AllReduce a dtype.

    Every rank gives the same parameters. One without gradient counts as 0, and has one afterwards.
    """
    parameters = list(parameters)
    for dtype in dict.fromkeys(p.dtype for p in parameters):
        same = [p for p in parameters if p.dtype == dtype]
        flat = [(np.zeros_like(p.data) if p.grad is None else p.grad.data).ravel() for p in same]
        total = comm.all_reduce(np.concatenate(flat), op)  # (Σ sizes,)
        start = 0
        for p in same:
            p.grad = Tensor.constant(total[start : start + p.size].reshape(p.shape))
            start += p.size


def scale_gradients(parameters, factor):
    """Multiply each gradient by a number."""
    for p in parameters:
        if p.grad is not None:
            p.grad = Tensor.constant(p.grad.data * p.dtype.type(factor))
