"""Runs a kernel that has passed `language` on the simulator, watched; or on a GPU besides.

What comes back is plain: the arrays as the kernel leaves them, and what was seen of each memory.
"""

import importlib
import importlib.util
import math
import os
import re
import sys

import numpy as np

if __package__:
    from minigrad.sandbox import language

#: how much is told of what goes wrong in many threads
MOST_RACES = 3
COUNTS = ("count", "bytes", "requests", "transfers")
#: what an exception of a thread most likely comes from
ADVICE = {
    "IndexError": "a thread that has no element of its own is not kept from memory: compare its "
    "index with the size of the array first",
    "OverflowError": "exp of a large number: subtract the largest first",
}


class KernelFailure(Exception):
    """A thread of a kernel stopped with an exception; ``error`` is it, the message says which."""

    def __init__(self, error, message):
        super().__init__(message)
        self.error = error


def load_kernels(folder):
    """Import the package of kernels from its folder, with all that is needed to watch one."""
    spec = importlib.util.spec_from_file_location(
        "kernels", os.path.join(folder, "__init__.py"), submodule_search_locations=[folder]
    )
    sys.modules["kernels"] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    importlib.import_module("kernels.watch")


def kernel_of(source, name, path):
    """(the kernel, names of its parameters) from the text of a file; raises as `language`."""
    from kernels import cuda

    code, parameters = language.kernel_code(source, name, path)
    scope = {"cuda": cuda, "math": math, "np": np, "__name__": name}
    exec(code, scope)
    return scope[name], parameters


def run(kernel, parameters, grid, block, arguments, device="cpu"):
    """Launch a kernel on copies of its arguments, and watch it.

    Args:
        kernel, parameters: of `kernel_of`.
        grid, block: as in ``kernel[grid, block]``.
        arguments: arrays and numbers.
        device: "cuda" to take the values of the arrays from a GPU.

    Returns {"arrays": {parameter: array}, "races": lines of text, "memory": {array: {"space",
    "reads", "writes"}}}, where reads and writes are {key of COUNTS: number}: see ``watch.Traffic``.
    Raises KernelFailure for what a thread does wrong.
    """
    copies = [each.copy() if isinstance(each, np.ndarray) else each for each in arguments]
    try:
        report = _watched(kernel, grid, block, copies)
    except Exception as error:
        raise KernelFailure(error, _told(error)) from error
    if device == "cuda":
        copies = _on_gpu(kernel, grid, block, arguments)
    arrays = {name: each for name, each in zip(parameters, copies) if isinstance(each, np.ndarray)}
    return {"arrays": arrays} | report


def _told(error):
    """An exception in a kernel, with the thread that raised it and what to look for."""
    words = [str(error).replace("(np.int64(", "(")]
    words += getattr(error, "__notes__", ())
    words = [re.sub(r", at \S+:\d+", "", each) for each in words]
    advice = ADVICE.get(type(error).__name__)
    return ", ".join(words) + (f"\n\nLikely mistake: {advice}." if advice else "")


def _on_gpu(kernel, grid, block, arguments):
    import cupy

    there = [cupy.asarray(each) if isinstance(each, np.ndarray) else each for each in arguments]
    kernel[grid, block](*there)
    return [cupy.asnumpy(each) if isinstance(each, cupy.ndarray) else each for each in there]


def _watched(kernel, grid, block, copies):
    """The part of `run`'s result that is not arrays."""
    from kernels.watch import watch

    with np.errstate(all="ignore"):
        report = watch(kernel[grid, block], *copies)
    memory = {}
    for each in report.watcher.memories:
        entry = {"space": each.space}
        for way in ("reads", "writes"):
            traffic = report.traffic(each.space, way, memory=each.name)
            entry[way] = {key: int(getattr(traffic, key)) for key in COUNTS}
        memory[each.name] = entry
    told = [race_in_words(race) for race in report.races[:MOST_RACES]]
    advice = f"Likely mistake: {_cause(report.races[0])}." if told else ""
    return {"races": [*told, "", advice] if told else [], "memory": memory}


def _cause(race):
    """What a race most likely comes from."""
    (kind, _, block, site), (other_kind, _, other_block, other_site) = race.first, race.second
    if kind == other_kind == "write" and site.line == other_site.line:
        return "two threads write the same element: an index is wrong, or lacks a part"
    if block != other_block:
        return (
            "blocks touch what is another's: nothing puts blocks in order but an atomic operation"
        )
    return "a barrier is missing between the two lines"


def race_in_words(race):
    """A race as a learner wants to see it: who touches what, in which lines."""

    def told(access):
        kind, thread, block, site = access
        verb = {"read": "reads", "write": "writes", "atomic": "atomically changes"}[kind]
        return f"thread {thread} of block {block} {verb} it in line {site.line}"

    index = ", ".join(map(str, race.index))
    name, _, line = race.memory.name.partition(", ")
    where = f"Element [{index}] of {f'the shared array of {line}' if line else name}"
    return f"{where}: {told(race.first)}, {told(race.second)}."
