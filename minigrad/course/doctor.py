"""``minigrad doctor``: what this machine has, what is missing, and the command that mends it."""

import dataclasses
import json
import shlex
import shutil
import textwrap
from typing import NamedTuple

from minigrad.course import machine

LABEL_WIDTH = 11
BLAS_LIMITS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")


class Advice(NamedTuple):
    """Something to mend: what is wrong, and the command for it ("" where no command helps)."""

    problem: str
    command: str


def add_arguments(parser):
    """The options of ``minigrad doctor``."""
    parser.add_argument(
        "--json", action="store_true", help="the facts as JSON, to be put into a report of an error"
    )


def run(arguments):
    """Print the report; the exit status is 1 when minigrad cannot work here as it is."""
    if not arguments.json:
        print("Looking at this machine ...", flush=True)
    facts = machine.gather()
    if arguments.json:
        print(json.dumps(dataclasses.asdict(facts), indent=2))
    else:
        print(report(facts))
    return 1 if facts.engine_error else 0


def report(facts):
    """The facts in plain words, then what is missing."""
    rows = [
        ("Python", python_words(facts)),
        ("Arrays", array_words(facts)),
        ("Products", blas_words(facts)),
        ("Kernels", kernel_words(facts)),
        ("", cache_words(facts)),
        ("GPU", gpu_words(facts)),
        ("Notebooks", package_words(facts, "course")),
        ("Tests", package_words(facts, "test")),
        ("Engine", engine_words(facts)),
    ]
    if facts.environment:
        settings = ", ".join(f"{name}={value}" for name, value in facts.environment.items())
        rows.append(("Settings", settings))
    lines = [f"minigrad {facts.version} on {facts.system}, {plural(facts.cores, 'core')}", ""]
    lines += [row_words(label, words) for label, words in rows]
    return "\n".join([*lines, "", *advice_lines(advice(facts))])


def row_words(label, words):
    """A row of the report, on as many lines as it takes; paths are never broken."""
    indent = " " * (LABEL_WIDTH + 2)
    return textwrap.fill(
        words,
        width=80,
        initial_indent=f"  {label:<{LABEL_WIDTH}}",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def python_words(facts):
    """Which Python runs, and whether it has an environment of its own."""
    where = "in a virtual environment" if facts.virtual else "of the whole system"
    return f"{facts.python}, {where} ({facts.executable})"


def array_words(facts):
    """Which array modules are there."""
    numpy = f"NumPy {facts.packages['numpy']} on the processor"
    if facts.cupy_error is None:
        versions = " and ".join(facts.packages[name] for name in cupys(facts))
        return f"{numpy}, CuPy {versions} on the GPU"
    return f"{numpy}; no arrays on a GPU"


def blas_words(facts):
    """Which library multiplies matrices, on how many threads."""
    if facts.blas is None:
        return "by a library that NumPy does not name"
    if facts.blas_threads is None:
        return f"by {facts.blas}; the number of its threads is not known"
    return f"by {facts.blas} on {plural(facts.blas_threads, 'thread')}"


def kernel_words(facts):
    """How fused CPU kernels are compiled and threaded."""
    if facts.kernel_threads is None:
        return "none could be loaded: every op runs in NumPy"
    threads = plural(facts.kernel_threads, "thread")
    return (
        f"by Numba {facts.packages['numba']} on a pool of {threads} "
        "(Python threads without the GIL; no Numba threading layer)"
    )


def cache_words(facts):
    """Where compiled kernels are kept."""
    if facts.cache is None:
        return "compiled anew by every run, since no folder for them can be written"
    return f"{facts.compiled or 'none'} compiled so far, kept in {facts.cache}"


def gpu_words(facts):
    """Which cards, driver and CUDA there are, and whether CuPy works on them."""
    if not facts.gpus:
        return "none, or no NVIDIA driver; all of the course works without"
    cards = ", ".join(f"{gpu.name} ({memory_words(gpu.memory)})" for gpu in facts.gpus)
    cuda = f", up to CUDA {facts.cuda[0]}.{facts.cuda[1]}" if facts.cuda else ""
    works = "CuPy works" if facts.cupy_error is None else f"CuPy: {facts.cupy_error}"
    return f"{cards}, driver {facts.driver}{cuda}; {works}"


def memory_words(memory):
    """Bytes as GiB."""
    return f"{memory / 2**30:.0f} GiB" if memory else "memory shared with the processor"


def package_words(facts, extra):
    """The packages of an extra with their versions, the absent ones named as such."""
    names = machine.PACKAGES[extra]
    return ", ".join(f"{name} {facts.packages[name] or '(not installed)'}" for name in names)


def engine_words(facts):
    """Whether the engine differentiates."""
    return facts.engine_error or "d/dx x² at 3 is 6: it works"


def advice(facts):
    """What is missing or wrong, each with the command that mends it; [] when all is well.

    Whatever pip can mend is one entry with one command.
    """
    found = [*pip_advice(facts)]
    if facts.cache is None and facts.kernel_threads is not None:
        found.append(
            Advice(
                "Compiled kernels cannot be kept, so that every run compiles them again.",
                'export NUMBA_CACHE_DIR="$HOME/.cache/minigrad"',
            )
        )
    if facts.blas_threads == 1 and facts.cores > 1:
        limit = next((name for name in BLAS_LIMITS if name in facts.environment), None)
        problem = f"Matrix products use one of {facts.cores} cores"
        found.append(
            Advice(f"{problem}, as {limit} says.", f"unset {limit}")
            if limit
            else Advice(f"{problem}.", f"export OPENBLAS_NUM_THREADS={facts.cores}")
        )
    if facts.kernel_threads is None and "MINIGRAD_NUM_THREADS" in facts.environment:
        told = facts.environment["MINIGRAD_NUM_THREADS"]
        found.append(
            Advice(f"MINIGRAD_NUM_THREADS={told} is not a number.", "unset MINIGRAD_NUM_THREADS")
        )
    for name in ("NUMBA_DISABLE_JIT", "NUMBA_ENABLE_CUDASIM"):
        if facts.environment.get(name, "0") != "0":
            found.append(Advice(f"{name} is set: kernels run uncompiled.", f"unset {name}"))
    if facts.gpus and facts.cuda and facts.cuda < (12, 0):
        found.append(
            Advice(f"The driver {facts.driver} is too old for CUDA 12: update it (nvidia.com).", "")
        )
    return found


def pip_advice(facts):
    """The advice that one pip command can follow: at most one entry."""
    absent = {
        extra: [name for name in machine.PACKAGES[extra] if facts.packages[name] is None]
        for extra in ("needed", "course", "test")
    }
    problems, extras, removed = [], [], []
    if absent["needed"] or facts.engine_error:
        what = join(absent["needed"]) or "an installation that works"
        problems.append(f"{what}, without which nothing runs")
    numpy = facts.packages["numpy"]
    if numpy and not (2, 0) <= tuple(map(int, numpy.split(".")[:2])) < (2, 5):
        problems.append(f"NumPy 2.0 to 2.4 in place of {numpy}, with which Numba-CUDA fails")
    for extra, purpose in (("course", "for the notebooks"), ("test", "for the tests")):
        if absent[extra]:
            problems.append(f"{join(absent[extra])}, {purpose}")
            extras.append(extra)
    gpu_extra = fitting_gpu_extra(facts)
    if gpu_extra and facts.cupy_error:
        problems.append(f"CuPy for CUDA {facts.cuda[0]}, to compute on the GPU")
        extras.append(gpu_extra)
        # Two CuPys, or one for another CUDA, hide each other under the same import.
        removed = cupys(facts)
    if not problems:
        return []
    return [Advice(f"Missing: {'; '.join(problems)}.", pip_command(facts, extras, removed))]


def fitting_gpu_extra(facts):
    """The extra whose CuPy suits the driver; None without a GPU or with too old a driver."""
    if not facts.gpus or facts.cuda is None or facts.cuda < (12, 0):
        return None
    return "gpu" if facts.cuda[0] == 12 else "gpu-cu13"


def pip_command(facts, extras, removed=()):
    """One line for a shell that installs minigrad's extras for this very Python."""
    same = shutil.which("python") == facts.executable
    pip = f"{'python' if same else shlex.quote(facts.executable)} -m pip"
    chosen = f"[{','.join(extras)}]" if extras else ""
    if facts.root:
        steps = [f"cd {shlex.quote(facts.root)}", f'{pip} install -e ".{chosen}"']
    else:
        steps = [f'{pip} install "minigrad{chosen}"']
    if removed:
        steps.insert(-1, f"{pip} uninstall --yes {' '.join(removed)}")
    return " && ".join(steps)


def cupys(facts):
    """The names under which CuPy is installed; more than one is a mistake."""
    names = machine.PACKAGES["gpu"]
    return [name for name in names if name.startswith("cupy") and facts.packages[name]]


def advice_lines(found):
    """Advice as lines of the report."""
    if not found:
        return ["Nothing is missing. Start with: minigrad tour"]
    lines = []
    for problem, command in found:
        lines += [problem, *([f"  {command}"] if command else [])]
    return lines


def join(names):
    """Names as a list in a sentence."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def plural(count, noun):
    """A count with its noun: 1 core, 2 cores."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
