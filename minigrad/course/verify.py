"""``minigrad verify``: an exercise is sound when its tests pass what is right and nothing else.

For every exercise: the untouched stub scores 0, as unwritten; the solution scores full marks, with
only earlier solutions beside it and for other seeds too; every mutant (a plausible wrong answer)
fails a test of a function that it changes, with its mistake named; and answers that know nothing
(None, the first argument back, the right structure filled with one number) pass no test at all.
"""

import argparse
import ast
import contextlib
import os
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from minigrad.course import manifest, pool, stubs
from minigrad.sandbox import language

MIN_MUTANTS = 3
FUNCTIONS = range(3, 9)
POINTS = range(10, 31)
SEEDS = (0, 1, 2)
#: put after a solution: every function of ``{names}`` answers as ``{body}`` says
IGNORANCE = """
import numpy as np


def _filled(value, number):
    if type(value) in (list, tuple):
        return type(value)(_filled(item, number) for item in value)
    if type(value) is dict:
        return {{key: _filled(item, number) for key, item in value.items()}}
    if isinstance(value, np.ndarray):
        with np.errstate(all="ignore"):
            return np.full(value.shape, number).astype(value.dtype)
    return number if isinstance(value, (bool, int, float, np.generic)) else value and type(value)()

def _ignorant(f):
    def g(*arguments, **keywords):
        {body}
    return g

for _name in {names}:
    globals()[_name] = _ignorant(globals()[_name])
"""
#: answers that know nothing: {what they answer: the body of the function, ``f`` the right one}
IGNORANT = {
    "None": "return None",
    "0.0": "return 0.0",
    "its first argument": "return next("
    "each for each in (*arguments, *keywords.values()) if type(each).__name__ != 'Watched')",
    "zeros": "return _filled(f(*arguments, **keywords), 0)",
    "ones": "return _filled(f(*arguments, **keywords), 1)",
    "NaN": "return _filled(f(*arguments, **keywords), float('nan'))",
}


#: put after a solution: a kernel whose first thread fills every array named ``out…``
IGNORANT_KERNEL = """

@cuda.jit
def {name}({parameters}):
    if cuda.threadIdx.x + cuda.threadIdx.y + cuda.blockIdx.x + cuda.blockIdx.y == 0:
        pass
"""
FILL = """\
        if {out}.ndim == 1:
            for i in range({out}.shape[0]):
                {out}[i] = {element}
        if {out}.ndim == 2:
            for i in range({out}.shape[0]):
                for j in range({out}.shape[1]):
                    {out}[i, j] = {place}
"""
#: what such kernels write, for an array of one axis and of two; "None" writes nothing
ECHO = (
    "{first}[i] if {first}.ndim == 1 and i < {first}.size else 0.0",
    "{first}[i, j] if {first}.ndim == 2 and i < {first}.shape[0] and j < {first}.shape[1] else 0.0",
)
ELEMENTS = {
    "0.0": ("0.0", "0.0"),
    "its first argument": ECHO,
    "zeros": ("0.0", "0.0"),
    "ones": ("1.0", "1.0"),
    "NaN": ("math.nan", "math.nan"),
}


@dataclass(frozen=True)
class Answer:
    """An answer made for a check: its text, what it is called, and what is wrong with a judgement.

    ``complaint`` is a function from a Judgement to words, or to None if all is as it should be.
    ``only`` are the functions whose tests can have a say in it, None for all.
    """

    label: str
    text: str
    complaint: object
    seed: int = 0
    only: tuple | None = None


def complaints(course, exercise, mutants):
    """What is wrong with an exercise's own form, as lines: sizes, signatures, stub, notebook.

    Args:
        course, exercise: of the manifest.
        mutants: the folder of wrong answers of all exercises.
    """
    source = _solution(course, exercise).read_text(encoding="utf-8")
    public = [name for name in _functions(source) if not name.startswith("_")]
    wanted = [function.name for function in exercise.functions]
    found = []
    if [name for name in public if name in wanted] != wanted:
        found.append(f"the manifest has the functions {wanted}, the solution {public}")
    if len(wanted) not in FUNCTIONS:
        found.append(f"{len(wanted)} functions, not {FUNCTIONS[0]} to {FUNCTIONS[-1]}")
    if exercise.total not in POINTS:
        found.append(f"{exercise.total} points, not {POINTS[0]} to {POINTS[-1]}")
    stub = course.folder / f"{exercise.name}.py"
    made = stubs.stub(source, exercise.name)
    if not stub.exists() or stub.read_text(encoding="utf-8") != made:
        found.append("the stub is not the one that the solution makes; run `minigrad stubs`")
    if _functions(source) != _functions(made):
        found.append("the stub's signatures or docstrings are not the solution's")
    unwritten = [name for name in wanted if f'("{exercise.name}: {name}' not in made]
    if unwritten:
        found.append(f"nothing is left to write in {', '.join(unwritten)}")
    files = _mutants(exercise, mutants)
    if len(files) < MIN_MUTANTS:
        found.append(f"{len(files)} mutants, not {MIN_MUTANTS} or more")
    covered = {name for path in files for name in _functions(_text(path))}
    if set(wanted) - covered:
        found.append(f"no mutant of {', '.join(sorted(set(wanted) - covered))}")
    notebooks = course.folder.parent / "notebooks"
    notebook = notebooks / exercise.notebook
    if notebooks.is_dir() and f"exercises/{exercise.name}.py" not in _text(notebook):
        found.append(f"notebooks/{exercise.notebook} does not point to it")
    return found


def _text(path):
    return path.read_text(encoding="utf-8") if path.exists() else ""


def made_answers(course, exercise, mutants):
    """Every answer to an exercise that verify judges: stub, solutions, mutants, ignorant ones."""
    source = _solution(course, exercise).read_text(encoding="utf-8")
    answers = [Answer("the stub", stubs.stub(source, exercise.name), _not_unwritten)]
    answers += [Answer(f"the solution, seed {seed}", source, _not_full, seed) for seed in SEEDS]
    for path in _mutants(exercise, mutants):
        text = path.read_text(encoding="utf-8")
        mistake = (ast.get_docstring(ast.parse(text)) or "").partition("\n")[0].rstrip(".")
        changed = _functions(text).keys() & {function.name for function in exercise.functions}
        # A mutant of a helper may be caught by the test of any function.
        only = tuple(sorted(changed)) or None
        text, complaint = f"{source}\n{text}", _not_caught(mistake)
        answers.append(Answer(f"the mutant {path.stem}", text, complaint, only=only))
    kernels = _kernels(source)
    names = [function.name for function in exercise.functions if function.name not in kernels]
    for what, body in IGNORANT.items():
        text = source + (IGNORANCE.format(body=body, names=names) if names else "")
        text += "".join(_ignorant_kernel(name, kernels[name], what) for name in kernels)
        answers.append(Answer(f"the answer {what}", text, _not_zero))
    return answers


def _kernels(source):
    """{kernel: names of its parameters} of a source."""
    nodes = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    kernels = [node for node in nodes if language.kind(node) == "kernel"]
    return {node.name: [each.arg for each in node.args.args] for node in kernels}


def _ignorant_kernel(name, parameters, what):
    text = IGNORANT_KERNEL.format(name=name, parameters=", ".join(parameters))
    element, place = (each.format(first=parameters[0]) for each in ELEMENTS.get(what, ("", "")))
    outs = [each for each in parameters if each.startswith("out") and what in ELEMENTS]
    return text + "".join(FILL.format(out=out, element=element, place=place) for out in outs)


def _not_unwritten(judgement):
    other = [result.test for result in judgement.results if result.kind != "unwritten"]
    return f"does not fail as unwritten in {', '.join(other)}" if other else None


def _not_full(judgement):
    if judgement.passed:
        return None
    failure = judgement.failure
    return f"has {judgement.score} of {judgement.total} points; {failure.test}: {failure.message}"


def _not_zero(judgement):
    passed = [result.test for result in judgement.results if result.passed]
    return f"passes {', '.join(passed)}" if passed else None


def _not_caught(mistake):
    def complaint(judgement):
        failed = [result for result in judgement.results if not result.passed]
        if not mistake:
            return "has no docstring that says what the mistake is"
        if not failed:
            about = {result.function for result in judgement.results}
            return f"passes every test of {', '.join(sorted(about))}"
        if not any(mistake in result.message for result in failed):
            return f"is not told {mistake!r}, but:\n{failed[0].message}"
        return None

    return complaint


def _solution(course, exercise):
    return course.solutions / f"{exercise.name}.py"


def _mutants(exercise, folder):
    return sorted((folder / exercise.name).glob("*.py"))


def _functions(source):
    """{name: (arguments, docstring)} of the functions at the top of a source."""
    nodes = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return {node.name: (ast.unparse(node.args), ast.get_docstring(node)) for node in nodes}


@contextlib.contextmanager
def laid_out(course, answers):
    """A folder for every (exercise, Answer): the answer and only earlier solutions beside it."""
    with tempfile.TemporaryDirectory(prefix="minigrad-") as top:
        os.chmod(top, 0o755)
        folders = []
        for i, (exercise, answer) in enumerate(answers):
            folder = Path(top, str(i))
            folder.mkdir()
            for earlier in course.exercises[: course.exercises.index(exercise)]:
                shutil.copy(_solution(course, earlier), folder)
            (folder / f"{exercise.name}.py").write_text(answer.text, encoding="utf-8")
            folders.append(folder)
        yield folders


def verify(course, exercises, mutants, workers=1):
    """Check some exercises; yields (exercise, label, complaint or None) for every check.

    Args:
        course: with solutions.
        exercises: those of its exercises to check.
        mutants: the folder of wrong answers of all exercises.
        workers: how many judges work at once.
    """
    for exercise in exercises:
        found = complaints(course, exercise, mutants)
        yield exercise, "its form", "; ".join(found) or None
    answers = [(e, a) for e in exercises for a in made_answers(course, e, mutants)]
    with laid_out(course, answers) as folders:
        jobs = [(e, folder, a.seed, a.only) for (e, a), folder in zip(answers, folders)]
        for i, judgement in pool.judge_all(course, jobs, workers, tier="open"):
            exercise, answer = answers[i]
            yield exercise, answer.label, judgement.fault or answer.complaint(judgement)


def add_arguments(parser):
    """The options of ``minigrad verify``."""
    parser.add_argument("exercises", nargs="*", metavar="NN", help="which ones; all by default")
    parser.add_argument("--course", type=Path, default=Path(), help="folder of the course")
    parser.add_argument("-j", type=int, default=os.cpu_count() or 1, dest="workers", metavar="N")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = __doc__


def run(arguments):
    """Print what is wrong, and a line for each exercise; the exit status is 1 if anything is."""
    try:
        course = manifest.find(arguments.course)
        chosen = [course.exercise(word) for word in arguments.exercises] or course.exercises
    except (manifest.CourseError, manifest.ManifestError) as error:
        print(f"minigrad verify: {error}", file=sys.stderr)
        return 2
    mutants = course.folder.parent / "tests" / "mutants"
    checks, bad = Counter(), Counter()
    try:
        for exercise, label, complaint in verify(course, chosen, mutants, arguments.workers):
            checks[exercise.name] += 1
            if complaint:
                bad[exercise.name] += 1
                print(f"{exercise.name}: {label}: {complaint}", flush=True)
    except (OSError, stubs.MarkerError, SyntaxError) as error:
        print(f"minigrad verify: {error}", file=sys.stderr)
        return 1
    for exercise in chosen:
        result = f"{bad[exercise.name]} wrong" if bad[exercise.name] else "sound"
        print(f"{exercise.name:<36} {checks[exercise.name]:>3} checks  {result}")
    return 1 if bad else 0
