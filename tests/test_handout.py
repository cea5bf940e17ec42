"""`minigrad handout`: a folder for students that works alone and gives nothing away."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import graded_course
import pytest

from minigrad.course import cli, handout, manifest, stubs

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return graded_course.make(tmp_path_factory.mktemp("repository"))


def hand_out(course, folder, *words):
    return cli.main(["handout", *words, "--to", str(folder), "--course", str(course.folder)])


def run(folder, *command):
    """(exit status, output) of a command in a folder, away from this repository."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "PYTHON"))}
    done = subprocess.run(
        [sys.executable, "-P", "-m", *command],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def test_all_that_is_needed_is_there_and_nothing_else(course, tmp_path, capsys):
    assert hand_out(course, tmp_path / "new" / "out") == 0
    assert "Sums" in capsys.readouterr().out
    out = tmp_path / "new" / "out"
    files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert files == [
        ".stubs/ex01_sums.py",
        ".stubs/ex02_shifts.py",
        "README.md",
        "_given.py",
        "conftest.py",
        "course.toml",
        "ex01_sums.py",
        "ex02_shifts.py",
        "test_ex01_sums.py",
        "test_ex02_shifts.py",
    ]
    for name in ("ex01_sums.py", ".stubs/ex01_sums.py"):
        text = (out / name).read_text()
        assert "NotImplementedError" in text and "return 2 * x" not in text
        assert "SOLUTION" not in text
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert os.stat(out).st_mode & 0o777 == 0o755


def test_the_manifest_of_a_handout_says_the_same(course, tmp_path):
    assert hand_out(course, tmp_path / "all") == 0
    assert manifest.load(tmp_path / "all").exercises == course.exercises
    assert hand_out(course, tmp_path / "one", "02") == 0
    assert manifest.load(tmp_path / "one").exercises == course.exercises[1:]
    assert not list((tmp_path / "one").rglob("*ex01*"))
    real = manifest.load(ROOT / "exercises")
    (tmp_path / "course.toml").write_text(handout.toml(real.exercises), encoding="utf-8")
    assert manifest.load(tmp_path).exercises == real.exercises


def test_any_text_survives_the_manifest(course, tmp_path):
    odd = 'a "quote", a \\ backslash, ä, 😀, \t, \n, \x7f, \x01, [x] = # no comment'
    first = course.exercises[0]
    function = dataclasses.replace(first.functions[0], hints=(odd, odd, odd), task=odd)
    changed = dataclasses.replace(first, title=odd, functions=(function,), may_not_call=(odd,))
    (tmp_path / "course.toml").write_text(handout.toml([changed]), encoding="utf-8")
    assert manifest.load(tmp_path).exercises == (changed,)


def test_pytest_works_in_it_and_every_stub_fails_as_unwritten(course, tmp_path):
    out = tmp_path / "out"
    assert hand_out(course, out) == 0
    status, text = run(out, "pytest", "-p", "no:cacheprovider", "-rf")
    assert status == 1, text
    assert re.search(r"^=+ 5 failed in", text, re.MULTILINE), text
    assert text.count("is not written yet") >= 5
    assert "rror" not in text.replace("NotImplementedError", "")
    for name, source in graded_course.SOLUTIONS.items():
        (out / f"{name}.py").write_text(source)
    status, text = run(out, "pytest", "-p", "no:cacheprovider")
    assert status == 0, text
    status, text = run(out, "pytest", "-p", "no:cacheprovider", "test_ex02_shifts.py")
    assert status == 0 and "2 passed" in text


def test_the_commands_work_in_it(course, tmp_path):
    out = tmp_path / "out"
    assert hand_out(course, out, "1") == 0
    status, text = run(out, "minigrad.course.cli", "check", "01")
    assert status == 1, text
    assert "Traceback" not in text
    (out / "ex01_sums.py").write_text(graded_course.SOLUTIONS["ex01_sums"])
    assert run(out, "minigrad.course.cli", "check", "01")[0] == 0
    assert run(out, "minigrad.course.cli", "reset", "01")[0] == 0
    assert (out / "ex01_sums.py").read_text() == (out / ".stubs" / "ex01_sums.py").read_text()
    assert run(out, "minigrad.course.cli", "list")[0] == 0


def test_what_comes_back_can_be_graded(course, tmp_path, capsys):
    out = tmp_path / "class" / "alice"
    assert hand_out(course, out) == 0
    (out / "ex01_sums.py").write_text(graded_course.SOLUTIONS["ex01_sums"])
    arguments = ["--course", str(course.folder), "--seed", "1"]
    assert cli.main(["grade", str(tmp_path / "class"), *arguments]) == 0
    assert re.search(r"^alice +9 +0 +9$", capsys.readouterr().out, re.MULTILINE)


def test_a_handout_can_be_made_from_a_handout(course, tmp_path):
    assert hand_out(course, tmp_path / "first") == 0
    (tmp_path / "first" / "ex01_sums.py").write_text("# worked in\n")
    flat = manifest.load(tmp_path / "first")
    assert hand_out(flat, tmp_path / "second") == 0
    for path in (tmp_path / "second").rglob("*.py"):
        original = tmp_path / "first" / ".stubs" / path.name
        if original.exists():
            assert path.read_text() == original.read_text()


def test_a_folder_with_files_in_it_is_left_alone(course, tmp_path, capsys):
    graded_course.fill(tmp_path / "full", {"mine.py": "x"})
    assert hand_out(course, tmp_path / "full") == 2
    assert "has files in it" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.py"]
    (tmp_path / "empty").mkdir()
    assert hand_out(course, tmp_path / "empty") == 0
    graded_course.fill(tmp_path, {"file": "x"})
    assert hand_out(course, tmp_path / "file") == 2
    assert hand_out(course, tmp_path / "other", "9") == 2
    assert "no exercise '9'; there are 01, 02" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_nothing_half_made_is_left(course, tmp_path, capsys):
    broken = shutil.copytree(course.folder.parent, tmp_path / "broken")
    (broken / "exercises" / "test_ex02_shifts.py").unlink()
    assert hand_out(manifest.load(broken / "exercises"), tmp_path / "out") == 2
    assert "test_ex02_shifts.py" in capsys.readouterr().err
    (broken / "solutions" / "ex01_sums.py").write_text("def f():\n    ### BEGIN SOLUTION\n    x\n")
    assert hand_out(manifest.load(broken / "exercises"), tmp_path / "out") == 2
    shutil.rmtree(broken / "solutions")
    assert hand_out(manifest.load(broken / "exercises"), tmp_path / "out") == 2
    assert "neither a solution nor a stub of ex01_sums" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["broken"]


def test_the_real_course_gives_no_solution_away():
    course = manifest.load(ROOT / "exercises")
    files = handout.contents(course, course.exercises)
    everything = b"\n".join(files.values()).decode()
    for exercise in course.exercises:
        source = (course.solutions / f"{exercise.name}.py").read_text(encoding="utf-8")
        lines = source.splitlines()
        for first, last in stubs.regions(source, exercise.name):
            body = "\n".join(lines[first : last - 1])
            assert body not in everything
    assert not any("grading_seed" in name or "mutants" in name for name in files)
