"""The exercises are sound: `minigrad verify` finds nothing, and would find what it is for."""

import contextlib
import dataclasses
import functools
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minigrad.course import cli, judge, manifest, pool, verify

ROOT = Path(__file__).resolve().parents[1]
COURSE = manifest.load(ROOT / "exercises")
MUTANTS = ROOT / "tests" / "mutants"


def found(course, exercise, mutants):
    checks = list(verify.verify(course, [exercise], mutants))
    return len(checks), [f"{label}: {complaint}" for _, label, complaint in checks if complaint]


@pytest.mark.parametrize("exercise", COURSE.exercises, ids=lambda exercise: exercise.name)
def test_the_exercise_is_sound(exercise, monkeypatch):
    """With one seed, and of the answers that know nothing those that are most like an answer."""
    monkeypatch.setattr(verify, "SEEDS", (0,))
    monkeypatch.setattr(verify, "IGNORANT", {"zeros": verify.IGNORANT["zeros"]})
    soundness(exercise)


@pytest.mark.slow
@pytest.mark.parametrize("exercise", COURSE.exercises, ids=lambda exercise: exercise.name)
def test_the_exercise_is_sound_for_every_seed_and_every_ignorance(exercise):
    soundness(exercise)


def soundness(exercise):
    checks, complaints = found(COURSE, exercise, MUTANTS)
    assert not complaints, "\n".join(complaints)
    # Its form, the stub, the solution for each seed, three mutants or more, the ignorant answers.
    assert checks >= 2 + len(verify.SEEDS) + verify.MIN_MUTANTS + len(verify.IGNORANT)


def test_every_file_belongs_to_an_exercise():
    names = {exercise.name for exercise in COURSE.exercises}
    assert {path.stem for path in (ROOT / "solutions").glob("*.py")} == names
    assert {path.stem for path in (ROOT / "exercises").glob("ex*.py")} == names
    assert {path.stem[5:] for path in (ROOT / "exercises").glob("test_*.py")} == names
    assert {path.name for path in MUTANTS.iterdir() if path.is_dir()} == names


TOML = """
[ex98_sums]
title = "Sums"
notebook = "98_sums.ipynb"
seconds = 5
may_import = ["numpy"]
may_not_call = ["numpy.sum"]

[ex98_sums.functions.total]
task = "add all numbers"
points = { test_total = 6 }
hints = ["a", "b", "c"]

[ex98_sums.functions.rows]
task = "add along each row"
points = { test_rows = 4 }
hints = ["a", "b", "c"]

[ex98_sums.functions.given_twice]
task = "apply a function twice"
points = { test_given_twice = 5 }
hints = ["a", "b", "c"]
"""
SOLUTION = '''
"""Sums."""

import numpy as np


def total(x):
    """The sum of all numbers."""
    ### BEGIN SOLUTION
    return float(np.ones(x.size) @ x.ravel())
    ### END SOLUTION


def rows(x):
    """The sum along each row."""
    ### BEGIN SOLUTION
    return x @ np.ones(x.shape[1])
    ### END SOLUTION


def given_twice(f, x):
    """f(f(x))."""
    ### BEGIN SOLUTION
    return f(f(x))
    ### END SOLUTION
'''
TESTS = '''
"""Tests."""

import numpy as np

from minigrad.course.testing import expect, given


def test_total(answer, rng):
    x = rng.normal(size=(2, 3))
    expect(answer.total(x), x.sum(), {"the rows are left": x.sum(1)})


def test_rows(answer, rng):
    x = rng.normal(size=(2, 3))
    expect(answer.rows(x), x.sum(1), {"the wrong axis is summed": x.sum(0)})


def test_given_twice(answer, rng):
    x = rng.normal()
    expect(answer.given_twice(given("add", 2.5), x), x + 5, {"it is applied once": x + 2.5})
'''
MUTANT_FILES = {
    "rows_left": '"""the rows are left"""\ndef total(x):\n    return x @ np.ones(3)\n',
    "wrong_axis": '"""the wrong axis is summed"""\ndef rows(x):\n    return np.ones(2) @ x\n',
    "once": '"""it is applied once"""\ndef given_twice(f, x):\n    return f(x)\n',
}


@pytest.fixture
def small(tmp_path):
    """A sound little course of one exercise, to be spoilt."""
    for folder in ("exercises", "solutions", "tests/mutants/ex98_sums"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "exercises/course.toml").write_text(TOML)
    (tmp_path / "exercises/test_ex98_sums.py").write_text(TESTS)
    (tmp_path / "exercises/_given.py").write_text("def add(n):\n    return lambda x: x + n\n")
    (tmp_path / "solutions/ex98_sums.py").write_text(SOLUTION)
    for name, text in MUTANT_FILES.items():
        (tmp_path / f"tests/mutants/ex98_sums/{name}.py").write_text(text)
    assert cli.main(["stubs", "--course", str(tmp_path)]) == 0
    return tmp_path


def complaints_of(folder):
    course = manifest.load(folder / "exercises")
    return "\n".join(found(course, course.exercises[0], folder / "tests" / "mutants")[1])


def test_a_sound_exercise_draws_no_complaint(small):
    assert complaints_of(small) == ""


SPOILT = {
    "the stub is not": ("exercises/ex98_sums.py", "    raise", "    return 1\n    raise"),
    "the solution, seed 0: has 10 of 15": ("solutions/ex98_sums.py", "f(f(x))", "f(x)"),
    "the mutant once: passes every": ("tests/mutants/ex98_sums/once.py", "f(x)", "f(f(x))"),
    "the mutant once: is not told": ("tests/mutants/ex98_sums/once.py", "it is applied", "called"),
    "the mutant once: has no docstring": (
        "tests/mutants/ex98_sums/once.py",
        '"""it is applied once"""',
        "",
    ),
    "the answer zeros: passes test_total": (
        "exercises/test_ex98_sums.py",
        "x.sum(), {",
        "x.sum() * 0, {",
    ),
    "the manifest does not have: test_more": (
        "exercises/test_ex98_sums.py",
        "def test_rows",
        "def test_more():\n    pass\n\n\ndef test_rows",
    ),
    "without running test_rows": ("exercises/test_ex98_sums.py", "def test_rows", "def check_rows"),
    "SyntaxError": ("exercises/test_ex98_sums.py", "def test_rows(", "def test_rows(("),
    "9 points, not 10 to 30": ("exercises/course.toml", "= 6", "= 1"),
    "2 functions, not 3 to 8": (
        "exercises/course.toml",
        TOML[TOML.index("[ex98_sums.functions.given_twice]") :],
        "",
    ),
    # What it changes is right; what the test of another function finds does not count.
    "the mutant rows_left: passes every test of rows": (
        "tests/mutants/ex98_sums/rows_left.py",
        "def total(x):\n    return x @ np.ones(3)\n",
        "def rows(x):\n    return x @ np.ones(3)\n\n\ntotal = rows\n",
    ),
    "the mutant wrong_axis: passes every test of given_twice, rows, total": (
        "tests/mutants/ex98_sums/wrong_axis.py",
        "def rows",
        "def helper",
    ),
    "no mutant of rows": ("tests/mutants/ex98_sums/wrong_axis.py", "def rows", "def helper"),
    "calls numpy.sum": ("solutions/ex98_sums.py", "f(f(x))", "f(f(np.sum(x)))"),
}


@pytest.mark.parametrize("words", SPOILT)
def test_an_unsound_exercise_is_found_out(small, words, monkeypatch):
    monkeypatch.setattr(verify, "SEEDS", (0,))
    name, old, new = SPOILT[words]
    path = small / name
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    if name.startswith("solutions"):
        assert cli.main(["stubs", "--course", str(small)]) == 0
    if "9 points" in words:
        path.write_text(path.read_text().replace("= 4", "= 3"))
    course = manifest.load(small / "exercises")
    checks = verify.verify(course, course.exercises, small / "tests" / "mutants")
    with contextlib.closing(checks):
        assert any(words in f"{label}: {complaint}" for _, label, complaint in checks)


def test_a_missing_mutant_is_found_out(small):
    shutil.rmtree(small / "tests/mutants/ex98_sums")
    course = manifest.load(small / "exercises")
    complaints = verify.complaints(course, course.exercises[0], small / "tests" / "mutants")
    assert complaints == [
        "0 mutants, not 3 or more",
        "no mutant of given_twice, rows, total",
    ]


def test_the_command_says_sound_or_what_is_not(small, capsys):
    assert cli.main(["verify", "--course", str(small), "-j", "1"]) == 0
    assert capsys.readouterr().out.strip().endswith("14 checks  sound")
    (small / "solutions/ex98_sums.py").write_text(SOLUTION.replace("f(f(x))", "f(x)"))
    assert cli.main(["verify", "98", "--course", str(small), "-j", "1"]) == 1
    assert "the solution, seed 0: has 10 of 15 points" in capsys.readouterr().out
    assert cli.main(["verify", "97", "--course", str(small)]) == 2
    assert "no exercise '97'; there are 98" in capsys.readouterr().err


def test_pytest_tells_what_is_wrong_without_the_code_of_the_test(small):
    (small / "exercises/conftest.py").write_text("from minigrad.course.plugin import *\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "exercises"],
        cwd=small,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "\nunwritten: rows is not written yet\n" in done.stdout
    assert "expect(" not in done.stdout


def test_when_nobody_wants_the_other_judgements_no_answer_is_judged(small, monkeypatch):
    begun = []

    def slow(self, *job):
        begun.append(job)
        time.sleep(0.01)

    monkeypatch.setattr(pool.Judge, "judge", slow)
    course = manifest.load(small / "exercises")
    judged = pool.judge_all(course, [(course.exercises[0], "")] * 300, 1, tier="open")
    next(judged)
    judged.close()
    assert 0 < len(begun) < 300


def test_only_the_tests_of_the_functions_asked_for_are_run(small):
    (small / "exercises/test_ex98_sums.py").write_text(
        TESTS.replace("def test_total(answer, rng):\n", "def test_total(answer, rng):\n    1 / 0\n")
    )
    course = manifest.load(small / "exercises")
    judged = functools.partial(judge.judge, course, course.exercises[0], course.solutions)
    assert [result.passed for result in judged().results] == [False, True, True]
    results = judged(only=["given_twice", "rows"]).results
    assert [(each.test, each.points) for each in results] == [
        ("test_rows", 4),
        ("test_given_twice", 5),
    ]
    assert all(result.passed for result in results)
    assert "status 5" in judged(only=["no_such_function"]).fault


def test_a_mutant_is_judged_by_the_tests_of_what_it_changes(small):
    course = manifest.load(small / "exercises")
    answers = verify.made_answers(course, course.exercises[0], small / "tests" / "mutants")
    only = {answer.label: answer.only for answer in answers}
    assert {only.pop(f"the mutant {name}") for name in MUTANT_FILES} == {
        ("given_twice",),
        ("rows",),
        ("total",),
    }
    assert set(only.values()) == {None}


def test_a_function_that_never_ends_costs_its_own_points_alone(small):
    (small / "answers").mkdir()
    spoilt = SOLUTION.replace("return x @ np.ones(x.shape[1])", "while True: pass")
    (small / "answers/ex98_sums.py").write_text(spoilt)
    course = manifest.load(small / "exercises")
    (exercise,) = course.exercises
    limits = judge.limits_of(dataclasses.replace(exercise, seconds=1.0), wall=0.8)
    judgement = judge.judge(course, exercise, small / "answers", limits=limits)
    kinds = [result.kind for result in judgement.results]
    assert kinds == ["passed", "timed out", "passed"], judgement
