"""Seconds and memory that it takes to grade a large class.

Run ``pytest tests/benchmarks/test_grading_speed.py --benchmark-only --numprocesses=0 -s``;
``STUDENTS=20`` makes the class smaller. Nothing is asserted: a noisy machine is no bug.
"""

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minigrad.course import manifest

ROOT = Path(__file__).resolve().parents[2]
STUDENTS = int(os.environ.get("STUDENTS", "200"))


@pytest.fixture
def students(tmp_path):
    """A folder of students, every other one with a mistake in each exercise."""
    course = manifest.load(ROOT / "exercises")
    for exercise in course.exercises:
        source = (course.solutions / f"{exercise.name}.py").read_text(encoding="utf-8")
        mutants = sorted((ROOT / "tests" / "mutants" / exercise.name).glob("*.py"))
        for i in range(STUDENTS):
            folder = tmp_path / "students" / f"{i:03}"
            folder.mkdir(parents=True, exist_ok=True)
            wrong = mutants[i % len(mutants)].read_text(encoding="utf-8") if i % 2 else ""
            (folder / f"{exercise.name}.py").write_text(source + wrong, encoding="utf-8")
    return course, tmp_path / "students"


def memory(pid):
    """MB that a process holds now; 0 if it is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0


def children(pid):
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            yield from Path(f"/proc/{pid}/task/{task}/children").read_text().split()


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_grading_of_a_class(benchmark, students, tmp_path, capsys):
    course, folder = students
    samples = []

    def grade():
        command = [sys.executable, "-m", "minigrad.course.cli", "grade", folder, "-j2", "--seed=1"]
        command += ["--course", course.folder, "--json", tmp_path / "all.json"]
        one = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
        while one.poll() is None:
            samples.append((memory(one.pid), max(map(memory, children(one.pid)), default=0)))
            time.sleep(0.2)
        assert one.returncode == 0

    benchmark.pedantic(grade, rounds=1, iterations=1)
    seconds = benchmark.stats.stats.mean / (STUDENTS * len(course.exercises))
    quarter = len(samples) // 4
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    benchmark.extra_info["seconds an exercise"] = seconds
    with capsys.disabled():
        print(f"\n{STUDENTS} students, {len(course.exercises)} exercises, 2 judges")
        print(f"{seconds:.2f} s an exercise (must be under 0.5)")
        for name, which in (("grader", 0), ("largest judge", 1)):
            peaks = [max(sample[which] for sample in part) for part in (early, late)]
            print(f"{name}: {peaks[0]:.0f} MB in the second quarter, {peaks[1]:.0f} in the last")
