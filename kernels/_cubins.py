"""Compiled kernels, kept on disk: only the first run of a kernel waits for the compiler (up to 20 s
for the largest)."""

import functools
import hashlib
import inspect
import os
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

from kernels._lower import scope_of


def compiled(kernel, args, cc):
    """(name, machine code) of a kernel for such arguments, from an earlier run or made now."""
    name = hashlib.sha256(
        repr((fingerprint(kernel), [kind(arg) for arg in args], cc)).encode()
    ).hexdigest()
    path = cache() / f"{name[:32]}.cubin"
    try:
        entry, code = path.read_bytes().split(b"\n", 1)
        return entry.decode(), code
    except (OSError, ValueError):
        pass
    from kernels import _numba

    text = _numba.ptx(kernel, tuple(map(_numba.argument_type, args)), cc)
    line = next(line for line in text.splitlines() if ".visible .entry" in line)
    entry, code = line.split(".entry")[1].split("(")[0].strip(), _numba.cubin(text, cc)
    _keep(path, entry.encode() + b"\n" + code)
    return entry, code


def cache():
    """The folder of compiled kernels: minigrad/kernels where the system keeps caches."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "minigrad" / "kernels"


def _keep(path, data):
    """Write a file whole or not at all; a disk that cannot be written costs the next run time."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
            file.write(data)
        os.replace(file.name, path)
    except OSError:
        pass


def kind(arg):
    """What of an argument the compiled code depends on."""
    if hasattr(arg, "strides") and arg.ndim:
        return arg.dtype.name, arg.ndim, arg.flags.c_contiguous
    return getattr(arg, "dtype", type(arg).__name__)


@functools.cache
def _base():
    """A digest of the compiler: the modules that all kernels go through, the packages' versions."""
    here = Path(__file__).parent
    files = ("_lower.py", "_numba.py", "_bfloat16.py", "_cuda.py", "ptx.py", "hopper.py")
    text = b"".join((here / name).read_bytes() for name in files)
    versions = [version(name) for name in ("numba", "numba-cuda", "cuda-core")]
    return hashlib.sha256(text + repr((versions, sys.version)).encode()).hexdigest()


def fingerprint(kernel):
    """A text that changes whenever the compiled kernel may."""
    return _base(), kernel.fastmath, kernel.launch_bounds, _described(kernel.function)


def _described(function):
    """The source of a function and what its names stand for, those of functions it calls too."""
    scope = scope_of(function)
    names = sorted({*function.__code__.co_names, *function.__code__.co_freevars} & scope.keys())
    return inspect.getsource(function), [(name, _value(scope[name])) for name in names]


def _value(value):
    if hasattr(value, "device_function"):
        return _described(value)
    if isinstance(value, ModuleType):
        file = getattr(value, "__file__", None)
        ours = value.__name__.startswith("kernels.") and file
        return value.__name__, hashlib.sha256(Path(file).read_bytes()).hexdigest() if ours else ""
    if hasattr(value, "native"):
        return value.__module__, value.__name__, getattr(value, "asm", "")
    return repr(value)
