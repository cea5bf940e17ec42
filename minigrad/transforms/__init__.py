"""Functions of functions: derivatives in either mode, and what is built from them.

The transforms take functions of arrays, Tensors, or nested dicts, lists and tuples of them, and
compose in any order and depth. Arrays in, arrays out; any Tensor in, Tensors out; inside, the
function always receives Tensors. A result that a graph outside still follows stays a Tensor.
Mathematically (with J the Jacobian of f): jvp computes J u, vjp computes Jᵀ v.
"""

from minigrad.transforms.check import check_grads
from minigrad.transforms.gradient import checkpoint, grad, value_and_grad
from minigrad.transforms.jacobian import hessian, hvp, jacobian
from minigrad.transforms.modes import jvp, linearize, vjp
from minigrad.transforms.trees import flatten, tree_map

__all__ = [
    "check_grads",
    "checkpoint",
    "flatten",
    "grad",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "linearize",
    "tree_map",
    "value_and_grad",
    "vjp",
]
