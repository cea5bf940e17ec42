"""How every CPU kernel is compiled: without the GIL, without bounds checks, kept on disk."""

import contextlib
import functools
from pathlib import Path

import numba

ROUNDING = {"contract"}  # a * b + c may round once: safe for NaN and infinity
SUMS = {"contract", "reassoc", "nsz"}  # and a sum may run in several lanes side by side


def jit(fastmath=ROUNDING, signature=None):
    """Decorator: compile a function of arrays at its first call, once per dtype and layout; or now,
    for one signature.

    Division follows IEEE (x / 0 is infinite): a test at each would keep LLVM from vectorizing.
    Loops run over `x[start:stop]` from 0 for the same reason, as an index that might be negative
    counts from the end. Where no folder can be written, each process compiles anew.
    """
    options = {"nogil": True, "error_model": "numpy", "boundscheck": False, "fastmath": fastmath}

    def decorate(function):
        try:
            kernel = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # Numba found no folder to keep it in
            kernel = numba.njit(**options)(function)
        # Numba forgets what it kept when the kernel's own file changes, and would overlook the
        # files that the kernel imports.
        with contextlib.suppress(AttributeError):
            kernel._cache._cache_file._source_stamp = _stamp()
        if signature is not None:
            kernel.compile(signature)
            kernel.disable_compile()
        return kernel

    return decorate


@functools.cache
def _stamp():
    """The time of change and size of every file in this folder."""
    stats = [path.stat() for path in sorted(Path(__file__).parent.glob("*.py"))]
    return tuple((stat.st_mtime, stat.st_size) for stat in stats)


def inner(fastmath=ROUNDING):
    """Decorator: a function that compiled functions call, and Python does not."""
    options = {"error_model": "numpy", "boundscheck": False, "fastmath": fastmath}
    return numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **options)
