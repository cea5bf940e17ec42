"""How long a learner waits for `minigrad check`, and an author for `minigrad verify`.

Run ``pytest tests/benchmarks --benchmark-only`` (see the README); seconds are printed with the
bounds they are held against, nothing is asserted.
"""

import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minigrad.course import manifest

ROOT = Path(__file__).resolve().parents[2]
COURSE = manifest.load(ROOT / "exercises")
COMMAND = [sys.executable, "-m", "minigrad.course.cli"]


def seconds(*words, folder):
    start = time.perf_counter()
    done = subprocess.run([*COMMAND, *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return time.perf_counter() - start


@pytest.fixture
def solved(tmp_path):
    """A course in which every exercise is solved, and nothing has been checked."""
    shutil.copytree(ROOT / "exercises", tmp_path / "exercises")
    (tmp_path / "exercises/.progress").unlink(missing_ok=True)
    for path in (ROOT / "solutions").glob("*.py"):
        shutil.copy(path, tmp_path / "exercises")
    return tmp_path


def test_check_of_one_exercise(benchmark, solved, capsys):
    seconds("check", COURSE.exercises[0].number, folder=solved)
    times = {
        exercise.number: statistics.median(
            seconds("check", exercise.number, folder=solved) for _ in range(3)
        )
        for exercise in COURSE.exercises
    }
    benchmark.pedantic(seconds, ("check", "01"), {"folder": solved}, rounds=1)
    with capsys.disabled():
        parts = ", ".join(f"{number} {value:.2f}" for number, value in times.items())
        print(f"\nminigrad check, seconds: {parts} (must be under 1.5)")


def test_verify_of_all_exercises(benchmark, capsys):
    taken = benchmark.pedantic(seconds, ("verify",), {"folder": ROOT}, rounds=1)
    with capsys.disabled():
        print(f"\nminigrad verify of {len(COURSE.exercises)}: {taken:.0f} s (must be under 90)")
