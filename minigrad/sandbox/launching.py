"""Runs a kernel that has passed `language` on the simulator, watched; or on a GPU besides.

What comes back is plain: the arrays as the kernel leaves them, and what was seen of each memory.
"""

import ast
import importlib
import importlib.util
import math
import os
import re
import sys
from typing import NamedTuple

import numpy as np

if __package__:
    from minigrad.sandbox import language

#: how much is told of what goes wrong in many threads
MOST_RACES, MOST_UNWRITTEN = 3, 2
COUNTS = ("count", "bytes", "requests", "transfers")


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


class Loaded(NamedTuple):
    """A kernel, the names of its parameters, and the text that it comes from, with its path."""

    kernel: object
    parameters: list
    source: str
    path: str


def kernel_of(source, name, path):
    """The kernel of a name from the text of a file, as a Loaded; raises as `language`."""
    from kernels import cuda

    code, parameters = language.kernel_code(source, name, path)
    scope = {"cuda": cuda, "math": math, "np": np, "__name__": name}
    exec(code, scope)
    return Loaded(scope[name], parameters, source, path)


def run(loaded, grid, block, arguments, device="cpu"):
    """Launch a kernel on copies of its arguments, and watch it.

    Args:
        loaded: of `kernel_of`.
        grid, block: as in ``kernel[grid, block]``.
        arguments: arrays and numbers.
        device: "cuda" to take the values of the arrays from a GPU.

    Returns {"arrays": {parameter: array}, "races": lines of text, "suspects": lines of text,
    "memory": {array: {"space", "reads", "writes"}}}. Suspects are what would explain NaN in the
    arrays: reads of what nobody had written. Reads and writes are {key of COUNTS: number, "most":
    the most of one thread}: see ``watch.Traffic``. Raises KernelFailure for what a thread does
    wrong.
    """
    copies = [each.copy() if isinstance(each, np.ndarray) else each for each in arguments]
    try:
        report = _watched(loaded, grid, block, copies)
    except Exception as error:
        raise KernelFailure(error, _told(error, loaded.path)) from error
    if device == "cuda":
        copies = _on_gpu(loaded.kernel, grid, block, arguments)
    named = zip(loaded.parameters, copies)
    return {"arrays": {name: x for name, x in named if isinstance(x, np.ndarray)}} | report


def _told(error, path):
    """An exception in a kernel, with the thread that raised it and what to look for."""
    words = [re.sub(r"\bnp\.\w+\(([^()]*)\)", r"\1", str(error))]
    words += getattr(error, "__notes__", ())
    words = [re.sub(r", at \S+:\d+", "", each) for each in words]
    told = ", ".join(words).replace(f"at {path}:", "in line ").replace(f"{path}:", "line ")
    advice = _advice(error)
    return told + (f"\n\nLikely mistake: {advice}." if advice else "")


def _advice(error):
    """What an exception of a thread most likely comes from; None for who knows."""
    memory = getattr(error, "memory", None)
    if memory is not None and memory.space == "shared":
        return (
            f"{memory.name} belongs to the block: number its elements within the block, by "
            "cuda.threadIdx, not by the place in the whole grid"
        )
    if memory is not None:
        sizes = [f"{memory.name}.shape[{axis}]" for axis in range(len(memory.shape))]
        names = ", ".join("ijklmn"[: len(sizes)])
        below = " and ".join(f"{name} < {size}" for name, size in zip("ijklmn", sizes))
        return (
            "a thread that has no element of its own is not kept from memory: let it touch "
            f"{memory.name}[{names}] only where {below}"
        )
    if isinstance(error, OverflowError):
        return "exp of a large number: subtract the largest first"
    if str(error) == "math domain error":
        return (
            "the logarithm, or the root, of a number that is 0 or less. If it is a sum of exp, "
            "nothing was added to it, or all of them are 0, as what is subtracted is far too large"
        )
    kinds = getattr(error, "kinds", ())
    if of_warps := [kind for kind in kinds if kind != "barrier"]:
        return (
            f"{of_warps[0]} stands inside an if, or in a loop, that not all lanes of the warp go "
            "through: all 32 have to call it"
        )
    if kinds:
        return (
            "a barrier stands inside an if, or in a loop, that not all threads go through, and two "
            "barriers in two places do not meet: let one stand where all threads come by"
        )
    return None


def _on_gpu(kernel, grid, block, arguments):
    import cupy

    there = [cupy.asarray(each) if isinstance(each, np.ndarray) else each for each in arguments]
    kernel[grid, block](*there)
    return [cupy.asnumpy(each) if isinstance(each, cupy.ndarray) else each for each in there]


def _watched(loaded, grid, block, copies):
    """The part of `run`'s result that is not arrays."""
    from kernels.watch import watch

    named = zip(loaded.parameters, copies)
    floats = [(name, x) for name, x in named if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
    fresh = [name for name, x in floats if np.isnan(x).all()]
    with np.errstate(all="ignore"):
        report = watch(loaded.kernel[grid, block], *copies)
    memory = {}
    for each in report.watcher.memories:
        entry = {"space": each.space}
        for way in ("reads", "writes"):
            traffic = report.traffic(each.space, way, memory=each.name)
            entry[way] = {key: int(getattr(traffic, key)) for key in COUNTS}
            entry[way]["most"] = int(traffic.per_thread.max(initial=0))
        memory[each.name] = entry
    told = [race_in_words(race) for race in report.races[:MOST_RACES]]
    advice = f"Likely mistake: {_cause(report.races[0], loaded.source)}." if told else ""
    races = [*told, "", advice] if told else []
    return {"races": races, "suspects": _suspects(report, fresh), "memory": memory}


def _suspects(report, fresh):
    """Reads of what nobody has written, and threads that have left too early, as lines of text."""
    from kernels.sim import races
    from kernels.sim.machine import ranks_in_words

    reads = races.unwritten(report.watcher, report.accesses, fresh)
    first = {read.memory.name: read for read in reversed(reads)}  # of each array
    reads = [read for read in reads if read is first[read.memory.name]]
    lines = []
    for memory, index, (_, thread, block, site) in reads[:MOST_UNWRITTEN]:
        which = ", ".join(map(str, index))
        lines.append(
            f"Element [{which}] of {memory.name} is read in line {site.line} (by thread {thread} "
            f"of block {block}), and no thread has written it."
        )
    for site, (block, ranks) in [*report.watcher.left.items()][:1]:
        lines.append(
            f"When block {block} was at the barrier in line {site.line}, {ranks_in_words(ranks)} "
            "had ended."
        )
        advice = (
            "a thread returns early, or goes past a barrier: every thread has to come to every "
            "barrier and do its share, also one that has no element of its own"
        )
    if reads and not report.watcher.left:
        name = reads[0].memory.name
        advice = {
            "shared": f"in {name} there is a place that nobody wrote, and it holds NaN. Write all "
            "that is read (zeros where there is nothing to bring), or read less",
            "local": f"{name} holds nothing useful at first (NaN here): set all of it, to 0 or "
            "whatever it begins with, before it is read",
            "global": f"{name} holds nothing useful at first (NaN here): sum in a variable, and "
            f"write to {name} once",
        }[reads[0].memory.space]
    return [*lines, "", f"Likely mistake: {advice}."] if lines else []


def _cause(race, source):
    """What a race most likely comes from."""
    (kind, _, block, site), (other_kind, _, other_block, other_site) = race.first, race.second
    if kind == other_kind == "write" and site.line == other_site.line:
        return (
            "two threads write the same element: an index is wrong, or lacks a part, or one thread "
            "alone should write it"
        )
    if block != other_block:
        return (
            "blocks touch what is another's: nothing puts blocks in order but an atomic operation"
        )
    return _missing_barrier(source, *sorted((site.line, other_site.line)))


def _missing_barrier(source, first, last):
    """What is wrong with the barriers between two lines of a source."""
    around = {}  # {line: the statements around it}
    barriers = []

    def visit(node, outer):
        inner = [*outer, node] if isinstance(node, (ast.If, ast.For, ast.While)) else outer
        if isinstance(node, ast.expr):
            around.setdefault(node.lineno, outer)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("cuda.syncthreads"):
            barriers.append(node.lineno)
        for child in ast.iter_child_nodes(node):
            visit(child, inner)

    visit(ast.parse(source), [])
    common = [each for each in around.get(first, ()) if each in around.get(last, ())]
    between = [line for line in barriers if first < line < last]
    for line in between:
        if any(each not in common for each in around[line]):
            return (
                f"not all threads come to the barrier in line {line} together: it stands inside an "
                "if, or in a loop of its own"
            )
    if between and any(isinstance(each, (ast.For, ast.While)) for each in common):
        return (
            "a barrier is missing between the end of one pass of the loop and the beginning of the "
            "next"
        )
    return "a barrier is missing between the two lines"


def race_in_words(race):
    """A race as a learner wants to see it: who touches what, in which lines."""

    def told(access):
        kind, thread, block, site = access
        verb = {"read": "reads", "write": "writes", "atomic": "atomically changes"}[kind]
        return f"thread {thread} of block {block} {verb} it in line {site.line}"

    index = ", ".join(map(str, race.index))
    where = f"Element [{index}] of {race.memory.name}"
    return f"{where}: {told(race.first)}, {told(race.second)}."
