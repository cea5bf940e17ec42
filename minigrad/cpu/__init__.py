"""Kernels of fused ops for the CPU, compiled by Numba: plain NumPy arrays in, plain arrays out.

A kernel is a class used as a namespace, found by name, such as ``minigrad.cpu.norm:layer_norm``:

- ``dtypes``: the names of the dtypes that it computes, one for all floating-point arguments;
- ``forward(*arrays, **params) -> (out, saved)``, with None for an array that is left out; ``saved``
  is what backward needs, a tuple of arrays;
- ``backward(g, saved, needs, **params)`` -> a gradient for each argument of forward, or None where
  ``needs`` is False;
- ``jvp(arrays, tangents, **params) -> (out, tangent)``, if it is there: forward mode, with None for
  a tangent that is zero;
- ``supports(*arrays, **params)``, if it is there: whether this case is one for the kernel.

Inputs may have any strides; results are fresh and C-contiguous, and do not depend on the number of
threads (``MINIGRAD_NUM_THREADS``, else every core this process may use). Numba is imported with the
first kernel, not with this package.
"""

import contextlib
import importlib

import numpy as np

from minigrad.cpu.threads import num_threads, set_num_threads

TRAINING = (
    "embedding",
    "layer_norm",
    "scaled_dot_product_attention",
    "gelu",
    "cross_entropy",
    "adamw_step",
)


def warm_up(names=None, announce=None, dtype="float32"):
    """Compile kernels, or load them from disk where an earlier run has left them.

    names: kernels by name, by default those of a GPT's training step (TRAINING). announce(name) is
    called as soon as a kernel turns out to need compiling, which takes it about a second. Raises
    ValueError for an unknown name.
    """
    names = TRAINING if names is None else names
    examples = _examples(np.dtype(dtype).type)
    for name in names:
        if name not in examples:
            raise ValueError(f"no CPU kernel is called {name!r}; there are {', '.join(examples)}")
    for name in names:
        where, arrays, params = examples[name]
        module, _, attribute = where.partition(":")
        kernel = getattr(importlib.import_module(f"minigrad.cpu.{module}"), attribute)
        with on_compilation(announce, name):
            if hasattr(kernel, "forward"):
                out, saved = kernel.forward(*arrays, **params)
                kernel.backward(np.ones_like(out), saved, (True,) * len(arrays), **params)
            else:
                kernel(*arrays, **params)


def _examples(number):
    """{name: (module:attribute, arrays, params)}: a small call of each kernel."""
    x, row = np.ones((2, 8), number), np.ones(8, number)
    ids = np.array([1, 0])
    heads = np.ones((1, 1, 2, 8), number)
    adamw = {"lr": 0.1, "beta1": 0.9, "beta2": 0.9, "eps": 1e-8, "weight_decay": 0.0, "step": 1}
    return {
        "embedding": ("embedding:embedding", (x, ids), {}),
        "layer_norm": ("norm:layer_norm", (x, row, row), {"eps": 1e-5}),
        "rms_norm": ("norm:rms_norm", (x, row), {"eps": 1e-5}),
        "scaled_dot_product_attention": (
            "attention:scaled_dot_product_attention",
            (heads, heads, heads, None),
            {"causal": True},
        ),
        "gelu": ("activation:gelu", (x,), {"approximate": "none"}),
        "gelu_tanh": ("activation:gelu", (x,), {"approximate": "tanh"}),
        "silu": ("activation:silu", (x,), {}),
        "sigmoid": ("activation:sigmoid", (x,), {}),
        "erf": ("activation:erf", (x,), {}),
        "softmax": ("softmax:softmax", (x,), {"axis": -1}),
        "log_softmax": ("softmax:log_softmax", (x,), {"axis": -1}),
        "cross_entropy": ("softmax:cross_entropy", (x, ids), {}),
        "adamw_step": ("adamw:adamw_step", tuple(np.ones((4, 8), number)), adamw),
    }


@contextlib.contextmanager
def on_compilation(announce, name):
    """Call announce(name) if Numba compiles anything inside the block, when it starts."""
    if announce is None:
        yield
        return
    from numba.core import event

    class Listener(event.Listener):
        heard = False

        def on_start(self, _):
            if not self.heard:
                self.heard = True
                announce(name)

        def on_end(self, _):
            pass

    with event.install_listener("numba:compile", Listener()):
        yield
