"""What every kernel has to stand, made from a file's cases.

    CASES = {"ragged": lambda put, rng: [(got, want, tolerance), ...]}
    LARGE = {...}

    class TestSoftmax(KernelTests):
        modules, cases, large = (softmax,), CASES, LARGE

``put`` makes a NumPy or CuPy array of a NumPy array; ``got`` is what the host function returned;
``want`` is float64 from an independent formula; the tolerance is relative to the largest |want|.
Cases run on the simulator, watched: right, every element written, no races; each kernel that they
launch is compiled for its architectures; each barrier in the modules is deleted in turn, and the
simulator must notice. With a GPU, cases and large cases run there too.
"""

import ast
import copy
import dataclasses
import functools
import importlib.util
import inspect
import os
import re
import shutil
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from gpu import gpu_works

from kernels import _cuda
from kernels._lower import scope_of
from kernels.sim import api, races
from kernels.sim.machine import SimulationError
from kernels.sim.trace import Watcher
from kernels.watch import watching

EXTRA = "needs the extra `ptx` (numba-cuda, NVVM and ptxas)"
BARRIER = re.compile(r"syncthreads|syncwarp|_wait")
WITHOUT_ORDER = {
    "syncthreads_count": api.reduced(sum, "vote of the block"),
    "syncthreads_and": api.reduced(all, "vote of the block"),
    "syncthreads_or": api.reduced(any, "vote of the block"),
}


class KernelTests:
    """Base class of a file's tests; see above.

    unnoticed: barriers that the simulator cannot miss, as "function: name", each with the reason.
    """

    modules, cases, large, unnoticed = (), {}, {}, {}

    def pytest_generate_tests(self, metafunc):
        choices = {
            "case": lambda: list(self.cases),
            "large_case": lambda: list(self.large),
            "barrier": lambda: [each for module in self.modules for each in barriers(module)],
            "kernel_name": lambda: [each for module in self.modules for each in kernels(module)],
        }
        for name, values in choices.items():
            if name in metafunc.fixturenames:
                metafunc.parametrize(name, values(), ids=str)

    def test_is_right_on_the_simulator(self, case):
        compare(simulated(type(self), case).results)

    def test_has_no_races_on_the_simulator(self, case):
        found = [race for one in simulated(type(self), case).launches for race in one.races]
        assert not found, "\n".join(found)

    def test_compiles_without_local_memory(self, case):
        for one in simulated(type(self), case).launches:
            if one.variant in chosen(type(self)):
                compiles(one)

    @pytest.mark.slow
    def test_every_variant_compiles_without_local_memory(self, case):
        for one in simulated(type(self), case).launches:
            if one.variant not in chosen(type(self)):
                compiles(one)

    def test_every_kernel_has_a_case(self, kernel_name):
        launched = {
            f"{Path(code.co_filename).name}: {code.co_name}"
            for case in self.cases
            for one in simulated(type(self), case).launches
            for code in [one.kernel.function.__code__]
        }
        assert kernel_name in launched, f"no case launches {kernel_name}"

    def test_deleting_a_barrier_is_noticed(self, barrier):
        if f"{barrier.function}: {barrier.name}" in self.unnoticed:
            pytest.skip(self.unnoticed[f"{barrier.function}: {barrier.name}"])
        launches = [one for case in self.cases for one in simulated(type(self), case).launches]
        tried = set()
        for one in sorted(launches, key=lambda one: one.cost):
            function = without(one.kernel.function, barrier)
            if function is None:
                continue
            found, error = races_of(one, function)
            if "wait" in barrier.name:
                if any(race.underway for race in found) or isinstance(error, SimulationError):
                    return
            elif found:
                return
            tried.add(one.kernel.__name__)
        assert tried, f"no case reaches {barrier}"
        if barrier.answers:
            return  # it is there for its answer
        pytest.fail(f"{barrier} can be deleted unnoticed (tried {', '.join(sorted(tried))})")

    @pytest.mark.gpu
    def test_is_right_on_the_gpu(self, case, monkeypatch):
        compare(on_gpu(self.cases[case], case, monkeypatch))

    @pytest.mark.gpu
    def test_is_right_at_real_size_on_the_gpu(self, large_case, monkeypatch):
        compare(on_gpu(self.large[large_case], large_case, monkeypatch))


# Running


@dataclasses.dataclass
class Launched:
    """A launch that a case made: enough to make it again."""

    launch: _cuda.Launch
    args: list  # as they were before
    races: list
    cost: int  # accesses

    @property
    def kernel(self):
        return self.launch.kernel

    @functools.cached_property
    def types(self):
        """What the compiled kernel depends on."""
        return tuple(
            (arg.dtype, arg.ndim, arg.flags.c_contiguous)
            if isinstance(arg, np.ndarray)
            else type(arg)
            for arg in self.args
        )

    @property
    def variant(self):
        """What is compiled."""
        return self.kernel, self.types


@dataclasses.dataclass
class Simulated:
    results: list
    launches: list


@functools.cache
def simulated(tests, case):
    """What a case gave on the simulator, and what it launched."""
    launches = []

    def simulate(launch, args, watcher):
        before = [np.array(arg) if isinstance(arg, np.ndarray) else arg for arg in args]
        _cuda.simulate(launch, args, watcher)
        found = [str(race) for race in races.find(watcher, watcher.accesses())]
        launches.append(Launched(launch, before, found, len(watcher.log) // 2))

    with watching(simulate):
        results = tests.cases[case](np.array, generator(case))
    assert launches, f"{case} launches no kernel"
    return Simulated(results, launches)


def generator(case):
    """The random numbers of a case: the same in each run."""
    return np.random.default_rng(zlib.crc32(case.encode()))


def compare(results):
    """That all that was got is what was wanted."""
    assert results, "the case compares nothing"
    for i, (got, want, tolerance) in enumerate(results):
        got = got.get() if hasattr(got, "get") else got
        got, want = np.asarray(got).astype(np.float64), np.asarray(want, np.float64)
        assert got.shape == want.shape, f"result {i}: {got.shape}, wanted {want.shape}"
        finite = np.isfinite(want)
        np.testing.assert_array_equal(got[~finite], want[~finite], f"result {i}")
        largest = np.abs(want[finite]).max(initial=0) or 1.0
        error = np.abs(got[finite] - want[finite]) / largest
        bad = ~(error <= tolerance)
        assert not bad.any(), (
            f"result {i}: {bad.sum()} of {want.size} are wrong, {np.isnan(got[finite]).sum()} of "
            f"them NaN, by up to {np.nanmax(error):.3g} of the largest (tolerance {tolerance}); "
            f"the first at {tuple(int(i) for i in np.argwhere(finite)[np.argmax(bad)])}"
        )


def on_gpu(case, name, monkeypatch):
    """A case on the GPU, new memory full of 0xFF bytes: NaN, or -1."""
    if not gpu_works():
        pytest.skip("needs a GPU that CuPy can use")
    import cupy

    empty = cupy.empty

    def poisoned(*args, **options):
        out = empty(*args, **options)
        cupy.cuda.runtime.memset(out.data.ptr, 0xFF, out.nbytes)
        return out

    monkeypatch.setattr(cupy, "empty", poisoned)
    results = case(cupy.asarray, generator(name))
    cupy.cuda.runtime.deviceSynchronize()
    return results


# Compiling


@functools.cache
def chosen(tests):
    """The variants that are compiled each time: of each kernel's function, what the first and the
    last case launch. (Argument types and the constants of a factory make the others.)"""
    groups = {}
    for case in tests.cases:
        for one in simulated(tests, case).launches:
            key = one.kernel.function.__code__
            groups.setdefault(key, []).append(one.variant)
    return {variant for each in groups.values() for variant in (each[0], each[-1])}


def compiles(one):
    """That the kernel of a launch compiles for its architectures, with nothing to complain of."""
    for arch in one.kernel.archs:
        complaint = compiled(one.kernel, one.types, arch)
        assert not complaint, f"{one.kernel.__name__}, {arch}: {complaint}"


@functools.cache
def compiled(kernel, types, arch):
    """What is wrong with the machine code of a kernel; empty if nothing is."""
    if importlib.util.find_spec("numba_cuda") is None or ptxas() is None:
        pytest.skip(EXTRA)
    text = library(kernel, types).get_asm_str(cc=arch)
    complaints = []
    if not any(isinstance(each, tuple) and each[0] == np.float64 for each in types):
        doubles = [line.strip() for line in text.splitlines() if ".f64" in line]
        complaints += [f"computes in float64: {line}" for line in doubles[:1]]
    used = usage(text, arch)
    if not kernel.local_memory:
        complaints += [f"{number} bytes {what}" for what, number in used.items() if number]
    return "; ".join(complaints)


@functools.lru_cache(maxsize=2)
def library(kernel, types):
    """A kernel in LLVM's language, from which every architecture's PTX is made. (Numba takes far
    longer for the way to here than LLVM from here on.)"""
    from numba.cuda.compiler import _compile_pyfunc_with_fixup

    from kernels import _numba

    oldest = min(kernel.archs, key=lambda arch: arch[:2])
    numba_types = [
        _numba.nb.Array(_numba.scalar_type(each[0]), each[1], "C" if each[2] else "A")
        if isinstance(each, tuple)
        else _numba.argument_type(each(0))
        for each in types
    ]
    with _numba._as_if_on(oldest):
        return _compile_pyfunc_with_fixup(
            _numba.translated(kernel.function),
            _numba.nb.void(*numba_types),
            device=False,
            abi="numba",
            cc=oldest,
            fastmath=kernel.fastmath,
            launch_bounds=kernel.launch_bounds,
        )[0]


def usage(text, arch):
    """{what: bytes} of local memory, as ptxas tells it. Raises AssertionError if it refuses."""
    done = subprocess.run(
        [ptxas(), "-v", "-arch=sm_" + "".join(map(str, arch)), "-o", os.devnull, "-"],
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {
        what: sum(map(int, re.findall(rf"(\d+) bytes {what}", done.stderr)))
        for what in ("stack frame", "spill stores", "spill loads")
    }


@functools.cache
def ptxas():
    """The path of ptxas: from its wheel, or on the PATH; None if there is none."""
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations if spec else ():
        for found in sorted(Path(folder).glob("**/bin/ptxas*")):
            return str(found)
    return shutil.which("ptxas")


# Deleting barriers


@dataclasses.dataclass(frozen=True)
class Barrier:
    """A call in the source of a kernel for which threads, or a thread for its copies, wait."""

    file: str
    line: int
    column: int
    function: str
    name: str
    answers: bool  # its value is used

    def __str__(self):
        return f"{Path(self.file).name}:{self.line}: {self.name}"


@functools.cache
def tree_of(file):
    """The syntax tree of a file."""
    return ast.parse(Path(file).read_text(encoding="utf-8"))


def _functions(file):
    return [node for node in ast.walk(tree_of(file)) if isinstance(node, ast.FunctionDef)]


def _name(call):
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _first_line(definition):
    return min([definition.lineno, *(each.lineno for each in definition.decorator_list)])


def barriers(module):
    """The barriers in a module."""
    file = inspect.getsourcefile(module)
    bare = {id(node.value) for node in ast.walk(tree_of(file)) if isinstance(node, ast.Expr)}
    return sorted(
        {
            (node.lineno, node.col_offset): Barrier(
                file,
                node.lineno,
                node.col_offset,
                definition.name,
                _name(node),
                id(node) not in bare,
            )
            for definition in _functions(file)  # inner ones come later
            for node in ast.walk(definition)
            if isinstance(node, ast.Call) and BARRIER.search(_name(node))
        }.values(),
        key=lambda each: (each.line, each.column),
    )


def kernels(module):
    """The functions of a module that are made kernels."""
    file = inspect.getsourcefile(module)
    return [
        f"{Path(file).name}: {definition.name}"
        for definition in _functions(file)
        for decorator in definition.decorator_list
        if "cuda.jit" in ast.unparse(decorator) and "device=True" not in ast.unparse(decorator)
    ]


class _Delete(ast.NodeTransformer):
    def __init__(self, barrier):
        self.place = barrier.line, barrier.column

    def visit_Expr(self, node):
        if (node.value.lineno, node.value.col_offset) == self.place and isinstance(
            node.value, ast.Call
        ):
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)

    def visit_Call(self, node):
        self.generic_visit(node)
        if (node.lineno, node.col_offset) == self.place and _name(node) in WITHOUT_ORDER:
            node.func = ast.copy_location(ast.Name(f"_{_name(node)}", ast.Load()), node.func)
        return node


@functools.cache
def without(function, barrier):
    """A copy of a function less a barrier, in it or in a device function that it calls; None if
    the barrier is in neither. Where the barrier's answer is used, it is still given."""
    code, scope = function.__code__, scope_of(function)
    changed = {
        name: shorter
        for name in code.co_names + code.co_freevars
        if hasattr(scope.get(name), "device_function")
        and (shorter := without(scope[name], barrier)) is not None
    }
    definition = definition_of(code)
    inside = code.co_filename == barrier.file and (
        definition.lineno <= barrier.line <= definition.end_lineno
    )
    if not inside and not changed:
        return None
    definition = copy.deepcopy(definition)
    definition.decorator_list = []
    tree = ast.Module([_Delete(barrier).visit(definition)], [])
    space = scope | changed | {f"_{name}": value for name, value in WITHOUT_ORDER.items()}
    exec(compile(tree, code.co_filename, "exec"), space)
    shorter = space[code.co_name]
    shorter.__defaults__ = function.__defaults__
    if hasattr(function, "device_function"):
        shorter.device_function = True
    return shorter


@functools.cache
def definition_of(code):
    """The syntax tree of a function."""
    return next(
        each
        for each in _functions(code.co_filename)
        if each.name == code.co_name and _first_line(each) == code.co_firstlineno
    )


class _Hasty(Watcher):
    """Looks for races after each block, and stops at the first."""

    def __init__(self):
        super().__init__()
        self.found = []

    def end_block(self):
        self.found = races.find(self, self.accesses())
        del self.log[:], self.turns[:]
        self.copies.clear()
        return bool(self.found)


def races_of(one, function):
    """(races, error or None) of a launch with another function in the place of its kernel."""
    watcher = _Hasty()
    args = [np.array(arg) if isinstance(arg, np.ndarray) else arg for arg in one.args]
    try:
        _cuda.simulate(one.launch, args, watcher, function)
    except Exception as error:  # what was done before it counts, too
        watcher.end_block()
        return watcher.found, error
    return watcher.found, None
