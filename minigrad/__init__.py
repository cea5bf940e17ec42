"""minigrad: a course you can run, from the first derivative to a served language model.

``import minigrad as mg`` gives Tensors, every op, and the transforms; ``mg.nn``, ``mg.optim``,
``mg.models`` and the other parts are imported when first used.
"""

import importlib

from minigrad import ops
from minigrad.backend import bfloat16, manual_seed
from minigrad.engine import detect_anomaly, no_grad, use_kernels
from minigrad.ops import *  # noqa: F403
from minigrad.tensor import Tensor, tensor
from minigrad.transforms import (
    check_grads,
    checkpoint,
    grad,
    hessian,
    hvp,
    jacobian,
    jvp,
    linearize,
    value_and_grad,
    vjp,
)

__version__ = "0.1.0"

_parts = (
    "course",
    "data",
    "distributed",
    "graph",
    "inference",
    "models",
    "nn",
    "optim",
    "perf",
    "text",
    "training",
    "viz",
)


def __getattr__(name):
    if name in _parts:
        return importlib.import_module(f"minigrad.{name}")
    raise AttributeError(f"module 'minigrad' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_parts})


__all__ = [
    *ops.__all__,
    "Tensor",
    "bfloat16",
    "check_grads",
    "checkpoint",
    "detect_anomaly",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "linearize",
    "manual_seed",
    "no_grad",
    "tensor",
    "use_kernels",
    "value_and_grad",
    "vjp",
]
