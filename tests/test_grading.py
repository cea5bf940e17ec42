"""`minigrad grade`: points, reports and exit statuses, and that the order of work is not seen."""

import csv
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import graded_course
import pytest

from minigrad.course import cli, grade, judge, manifest, reports, submissions
from minigrad.sandbox import best_tier

ROOT = Path(__file__).resolve().parents[1]
DOUBLE = "def double(x):\n    return 2 * x\n"
TOTAL = "\ndef total(values):\n    return float(sum(values))\n"
SHIFT = "def shift(f, x):\n    return f(x)\n"
RIGHT = {"ex01_sums.py": DOUBLE + TOTAL, "ex02_shifts.py": SHIFT}
HALF = {"ex01_sums.py": DOUBLE + "def total(values):\n    return 0.0\n", "ex02_shifts.py": SHIFT}
FORMULA = '=cmd|"c calc", 1'


@pytest.fixture
def course(tmp_path):
    return graded_course.make(tmp_path / "course")


@pytest.fixture
def command(course, tmp_path, capsys):
    """Run ``minigrad grade`` on the folder of submissions: (exit status, output, errors)."""

    def run(*options, paths=(tmp_path / "submissions",)):
        arguments = ["grade", *map(str, paths), "--course", str(course.folder), "-j", "2"]
        status = cli.main([*arguments, *map(str, options)])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def hand_in(tmp_path):
    """Write {student: files} as folders of submissions."""

    def write(students):
        for student, files in students.items():
            graded_course.fill(tmp_path / "submissions" / student, files)
        return tmp_path / "submissions"

    return write


def test_points_are_shown_and_all_reports_written(command, hand_in, tmp_path):
    hand_in({"alice": RIGHT, "bob": HALF, FORMULA: {"ex02_shifts.py": SHIFT}, "zoe": {"x": ""}})
    with zipfile.ZipFile(tmp_path / "submissions" / "carol.zip", "w") as archive:
        for name, text in RIGHT.items():
            archive.writestr(f"carol/{name}", text)
    files = [tmp_path / name for name in ("all.json", "all.csv", "gradescope")]
    status, out, err = command("--json", files[0], "--csv", files[1], "--gradescope", files[2])
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["student", "01", "02", "total"]
    points = [re.split("  +", line) for line in lines[2:7]]
    assert points == [
        [FORMULA, "0", "6", "6"],
        ["alice", "9", "6", "15"],
        ["bob", "5", "6", "11"],
        ["carol", "9", "6", "15"],
        ["zoe", "0", "0", "0"],
    ]
    assert lines[8].split() == ["points", "9", "6", "15"]
    assert f"walls: {best_tier()} (" in out
    content = json.loads(files[0].read_text())
    assert content["tier"] == best_tier()
    bob = next(each for each in content["submissions"] if each["student"] == "bob")
    assert (bob["score"], bob["points"]) == (11, 15)
    wrong = bob["exercises"][0]["tests"][2]
    assert {key: wrong[key] for key in ("name", "function", "points", "score", "kind")} == {
        "name": "test_a_total",
        "function": "total",
        "points": 4,
        "score": 0,
        "kind": "wrong",
    }
    assert "expected: 7.5" in wrong["message"]
    with open(files[1], newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["student"] for row in rows] == [f"'{FORMULA}", "alice", "bob", "carol", "zoe"]
    assert [row["total"] for row in rows] == ["6", "15", "11", "15", "0"]
    assert rows[2]["ex01_sums"] == "5" and rows[2]["points"] == "15"
    written = sorted(path.name for path in files[2].iterdir())
    names = ("_cmd__c calc__ 1", "alice", "bob", "carol", "zoe")
    assert written == [f"{name}.json" for name in names]


def test_gradescope_gets_what_its_documentation_asks_for(command, hand_in, tmp_path):
    hand_in({"bob": HALF})
    results = tmp_path / "results.json"
    status, _, _ = command("--gradescope", results, paths=[tmp_path / "submissions" / "bob"])
    assert status == 0
    content = json.loads(results.read_text())
    assert set(content) == {"score", "output", "visibility", "tests"}
    assert type(content["score"]) is int and content["score"] == 11
    assert content["visibility"] == "visible"
    assert "01 Sums: 5 of 9" in content["output"]
    assert len(content["tests"]) == 5
    for test in content["tests"]:
        assert set(test) == {"name", "score", "max_score", "status", "output", "visibility"}
        assert type(test["score"]) is int and type(test["max_score"]) is int
        assert test["status"] == ("passed" if test["score"] else "failed")
        assert bool(test["output"]) == (test["status"] == "failed")
    assert content["tests"][2]["name"] == "01 total: a total"
    assert sum(test["score"] for test in content["tests"]) == 11


def test_only_the_exercises_asked_for_are_graded(command, hand_in, tmp_path):
    hand_in({"bob": HALF})
    status, out, _ = command("--exercises", "2", "--json", tmp_path / "all.json")
    assert status == 0
    assert out.splitlines()[0].split() == ["student", "02", "total"]
    content = json.loads((tmp_path / "all.json").read_text())
    assert content["submissions"][0]["score"] == content["submissions"][0]["points"] == 6


def test_what_was_refused_is_worth_a_look(command, hand_in, tmp_path):
    folder = hand_in({"bob": RIGHT, "eve": {"ex02_shifts.py": SHIFT}})
    (folder / "eve" / "ex01_sums.py").symlink_to("/etc/passwd")
    with zipfile.ZipFile(folder / "mallory.zip", "w") as archive:
        archive.writestr("../../evil.py", "")
    status, out, _ = command("--json", tmp_path / "all.json", "--gradescope", tmp_path / "gs")
    assert status == 0
    assert "eve: ex01_sums.py is a symbolic link" in out
    reason = "the submission is refused: the name '../../evil.py' in it leads out of it"
    assert f"mallory: {reason}" in out
    mallory = json.loads((tmp_path / "all.json").read_text())["submissions"][2]
    assert mallory["score"] == 0
    assert all(t["message"] == f"unreadable: {reason}" for t in mallory["exercises"][1]["tests"])
    assert reason in json.loads((tmp_path / "gs" / "mallory.json").read_text())["output"]


def test_a_fault_of_the_grader_leaves_an_exercise_unscored(command, hand_in, course, tmp_path):
    hand_in({"alice": RIGHT, "bob": HALF})
    gradescope = tmp_path / "gradescope"
    command("--gradescope", gradescope)
    assert len(list(gradescope.iterdir())) == 2
    # A test of the instructor's own takes the judge with it, for one student.
    (course.folder / "test_ex02_shifts.py").write_text(
        graded_course.TESTS["ex02_shifts"] + "import os\nos._exit(7)\n"
    )
    files = [tmp_path / name for name in ("all.json", "all.csv")]
    status, out, _ = command("--json", files[0], "--csv", files[1], "--gradescope", gradescope)
    assert status == 3
    assert re.search(r"^alice +9 +\? +\?$", out, re.MULTILINE)
    assert "bob: exercise 02 is not scored: the judge failed (status 7)" in out
    for each in json.loads(files[0].read_text())["submissions"]:
        assert each["score"] is None
        assert [exercise["score"] is None for exercise in each["exercises"]] == [False, True]
        assert "judge failed" in each["exercises"][1]["fault"]
    with open(files[1], newline="") as file:
        assert list(csv.reader(file))[1] == ["alice", "9", "", "", "15"]
    assert not list(gradescope.iterdir())


def test_a_test_file_that_cannot_be_read_is_a_fault_too(command, hand_in, course):
    hand_in({"alice": RIGHT})
    (course.folder / "test_ex01_sums.py").write_text("def test_a(:\n")
    status, out, _ = command()
    assert status == 3
    assert re.search(r"^alice +\? +6 +\?$", out, re.MULTILINE)


def test_a_submission_that_cannot_be_laid_out_is_unscored(command, hand_in, monkeypatch):
    hand_in({"alice": RIGHT, "bob": RIGHT})
    copy = submissions._Stage._fill

    def fails_for_bob(self, file, member, is_answer):
        if self.root.name.startswith("tmp") and "bob" in str(member.pieces.__defaults__):
            raise OSError(28, "No space left on device")
        return copy(self, file, member, is_answer)

    monkeypatch.setattr(submissions._Stage, "_fill", fails_for_bob)
    status, out, _ = command()
    assert status == 3
    assert re.search(r"^alice +9 +6 +15$", out, re.MULTILINE)
    assert "bob: exercise 01 is not scored: the submission cannot be laid out" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--exercises", "7"], "no exercise '7'; there are 01, 02"),
        (["--json", "/nowhere/all.json"], "cannot be written"),
        (["--csv", "."], "is a folder"),
        (["--gradescope", "{file}"], "with 2 submissions it must be a folder"),
    ],
)
def test_wrong_use_is_said_before_anything_is_graded(command, hand_in, tmp_path, options, words):
    hand_in({"alice": RIGHT, "bob": RIGHT})
    file = graded_course.fill(tmp_path, {"results.json": ""}) / "results.json"
    status, out, err = command(*[option.format(file=file) for option in options])
    assert (status, out) == (2, "")
    assert words in err and err.startswith("minigrad grade: ")


def test_nothing_to_grade_is_wrong_use(command, tmp_path):
    (tmp_path / "submissions").mkdir()
    assert command()[0] == 2
    status, _, err = command(paths=[tmp_path / "nowhere"])
    assert status == 2 and "no such file or folder" in err


@pytest.mark.parametrize("option", ["-j0", "-jx", "--seed=-1", "--tier=open", "--tier=none"])
def test_impossible_options_are_wrong_use(command, hand_in, option):
    hand_in({"alice": RIGHT})
    with pytest.raises(SystemExit) as end:
        command(option)
    assert end.value.code == 2


def test_a_folder_without_a_course_is_wrong_use(tmp_path, capsys, monkeypatch):
    graded_course.fill(tmp_path / "s" / "alice", RIGHT)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["grade", "s"]) == 2
    assert "no exercises here" in capsys.readouterr().err


def test_the_hidden_seed_is_kept_and_is_not_the_public_one(command, hand_in, course, tmp_path):
    public = course.folder / "public.json"
    from minigrad.course.plugin import PUBLIC_SEED, generator

    x = generator(PUBLIC_SEED, "test_a_total").normal(size=5).tolist()
    known = f"KNOWN = {{(1.0, 2.0, 4.5): 7.5, {tuple(x)!r}: {sum(x)!r}}}\n"
    public.write_text(known)
    cheat = DOUBLE + known + "def total(values):\n    return KNOWN[tuple(values)]\n"
    hand_in({"cheat": {**RIGHT, "ex01_sums.py": cheat}})
    results = [tmp_path / "1.json", tmp_path / "2.json"]
    for path in results:
        assert command("--json", path, "--gradescope", tmp_path / "g.json")[0] == 0
    assert results[0].read_bytes() == results[1].read_bytes()
    assert json.loads(results[0].read_text())["submissions"][0]["score"] == 11
    kept = course.folder.parent / grade.SEED_FILE
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    seed = kept.read_text().strip()
    assert int(seed) == grade.hidden_seed(course)
    for path in (*results, tmp_path / "g.json"):
        assert seed not in path.read_text()
    assert command("--seed", PUBLIC_SEED)[1].split("\n")[2].split()[1] == "9"
    kept.write_text("lost\n")
    status, _, err = command()
    assert status == 2 and "should hold a whole number" in err


def test_reports_that_cannot_be_written_do_not_cost_the_others(command, hand_in, tmp_path):
    hand_in({"alice": RIGHT})
    target = tmp_path / "gradescope" / "alice.json"
    (target / "in the way").mkdir(parents=True)
    status, out, err = command("--gradescope", tmp_path / "gradescope", "--csv", tmp_path / "c")
    assert status == 3
    assert "alice" in out and "could not be written" in err
    assert (tmp_path / "c").exists()


def test_every_course_has_a_seed_of_its_own(tmp_path):
    seeds = {grade.hidden_seed(graded_course.make(tmp_path / name)) for name in "abc"}
    assert len(seeds) == 3


def test_what_students_write_cannot_command_a_terminal_or_a_spreadsheet(command, hand_in, tmp_path):
    shout = "print('\\x1b[2J\\x07\\u202e caf\\u00e9')\nimport os\nos.write(1, b'\\xff')\n" + DOUBLE
    raising = "\ndef total(values):\n    raise ValueError('\\x1b]0;title\\x07')\n"
    names = ["\x1b[31mred", "@sum(1)", "+1", "-1", "\tx", "two\nlines", "rtl\u202ex", "山田　太郎"]
    hand_in({name: {"ex01_sums.py": shout + raising} for name in names})
    if sys.platform == "linux":
        os.rename(tmp_path / "submissions" / "-1", os.fsencode(tmp_path) + b"/submissions/-1\xe9")
    files = [tmp_path / name for name in ("all.json", "all.csv", "gradescope")]
    status, out, _ = command("--json", files[0], "--csv", files[1], "--gradescope", files[2])
    assert status == 0
    for text in (out, *(path.read_text() for path in files[2].iterdir())):
        assert not set("\x1b\x07\u202e\t\ud800") & set(text)
    assert all("\\u001b" not in path.read_text() for path in files[2].iterdir())
    exercise = json.loads(files[0].read_text())["submissions"][0]["exercises"][0]
    assert exercise["output"].startswith("\\x1b[2J\\x07\\u202e café")
    assert "ValueError: \\x1b]0;title\\x07" in exercise["tests"][2]["message"]
    with open(files[1], newline="", encoding="utf-8") as file:
        students = [row[0] for row in csv.reader(file)][1:]
    assert set(students) == {
        "'-1\\xe9" if sys.platform == "linux" else "'-1",
        *("\x1b[31mred", "'@sum(1)", "'+1", "'\tx", "two\nlines", "rtl\u202ex", "山田　太郎"),
    }
    lines = out.splitlines()[2:10]
    assert len({reports._width(line) for line in lines}) == 1


def test_cells_that_a_spreadsheet_would_run_are_defused():
    for text in ("=1", " =1", "+1", "-1", "@x", "\tx", "\rx", "\nx", "＝1", "＋1", "－1", "＠x"):
        assert reports.cell(text) == f"'{text}"
    for text in ("alice", "a=1", "x@y.z", "5", "'=1", ""):
        assert reports.cell(text) == text


def test_long_names_are_cut_on_the_screen_only(command, hand_in, tmp_path):
    names = ["a" * 100, "山" * 60]
    hand_in(dict.fromkeys(names, RIGHT))
    _, out, _ = command("--csv", tmp_path / "all.csv")
    lines = out.splitlines()
    assert lines[2].startswith("a" * 31 + "…  ") and lines[3].startswith("山" * 15 + "…")
    assert reports._width(lines[2]) == reports._width(lines[3])
    assert all(name in (tmp_path / "all.csv").read_text(encoding="utf-8") for name in names)


def test_long_texts_are_cut_and_addresses_and_places_left_out():
    result = judge.Result(
        "t", "f", 1, "raised", "at 0x7f01 " + "y" * 9999, (("/s/x.py", 1, "f", ""),)
    )
    judged = judge.Judgement("e", (result,), "/s/x.py:1 <object at 0x7f3a2b>\n" + "z" * 9999)
    tidy = reports.tidied(judged, Path("/s"))
    assert tidy.output.startswith("x.py:1 <object at 0x…>\nzz")
    assert tidy.results[0].message.startswith("at 0x… yy")
    assert tidy.results[0].frames == (("x.py", 1, "f", ""),)
    assert len(tidy.output) == len(tidy.results[0].message) == reports.MAX_TEXT + 2


def test_files_for_gradescope_have_names_of_their_own():
    names = ["a/b", "A_B", "a_b", "...", "", "x" * 300, "ü 山", "a:b"]
    found = reports._file_names(names)
    assert found == ["a_b", "A_B (2)", "a_b (3)", "_", "_ (2)", "x" * 100, "ü 山", "a_b (4)"]


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """An empty folder in which all temporary files are made."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def test_nothing_is_left_behind(command, hand_in, temporary):
    hand_in({"alice": RIGHT, "bob": {"ex01_sums.py": "import os\nos._exit(0)\n"}})
    assert command()[0] == 0
    assert not list(temporary.iterdir())


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a POSIX signal")
def test_ctrl_c_leaves_nothing_behind(course, hand_in, temporary):
    sleepy = "import time\nprint('asleep', flush=True)\ntime.sleep(100)\n"
    folder = hand_in({f"{i}": {"ex01_sums.py": sleepy} for i in range(6)})
    text = (course.folder / "course.toml").read_text().replace("seconds = 0.5", "seconds = 100")
    (course.folder / "course.toml").write_text(text)
    one = subprocess.Popen(
        [sys.executable, "-m", "minigrad.course.cli", "grade", str(folder), "-j", "2"]
        + ["--course", str(course.folder), "--json", str(temporary / "all.json")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    until = time.monotonic() + 60
    while len(list(temporary.glob("minigrad-*/*"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(1.5)
    one.send_signal(signal.SIGINT)
    out, err = one.communicate(timeout=30)
    assert one.returncode == 130
    assert "stopped" in err
    assert "Traceback" not in out + err
    assert not list(temporary.iterdir())


@pytest.fixture(scope="module")
def real_students(tmp_path_factory):
    """Ten students with answers to all exercises: right ones, mutants, stubs, and nothing."""
    folder = tmp_path_factory.mktemp("students")
    course = manifest.load(ROOT / "exercises")
    for i in range(10):
        (folder / f"student {i}").mkdir()
        for exercise in course.exercises:
            path = folder / f"student {i}" / f"{exercise.name}.py"
            source = (course.solutions / path.name).read_text(encoding="utf-8")
            mutants = sorted((ROOT / "tests" / "mutants" / exercise.name).glob("*.py"))
            if i == 8:
                source = (course.folder / path.name).read_text(encoding="utf-8")
            elif i % 2:
                source += "\n" + mutants[i % len(mutants)].read_text(encoding="utf-8")
            if i != 9:
                path.write_text(source, encoding="utf-8")
    return course, folder


LONG = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize(
    "numbers", [["01", "08"], pytest.param(None, id="all", marks=LONG)], ids=" ".join
)
def test_ten_students_get_the_same_reports_from_one_judge_and_from_eight(
    real_students, tmp_path, numbers
):
    course, folder = real_students
    chosen = [e for e in course.exercises if numbers is None or e.number in numbers]
    found = []
    for workers in ("1", "8"):
        out = tmp_path / workers
        (out / "gs").mkdir(parents=True)
        done = subprocess.run(
            [sys.executable, "-m", "minigrad.course.cli", "grade", str(folder), "-j", workers]
            + ["--course", str(course.folder), "--seed", "5", "--json", str(out / "all.json")]
            + ["--csv", str(out / "all.csv"), "--gradescope", str(out / "gs")]
            + ["--exercises", *(exercise.number for exercise in chosen)],
            capture_output=True,
            cwd=ROOT,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stderr == b""
        files = sorted(path for path in out.rglob("*") if path.is_file())
        assert len(files) == 12
        found.append([done.stdout, *(path.read_bytes() for path in files)])
    assert found[0] == found[1]
    total = sum(exercise.total for exercise in chosen)
    scores = [each["score"] for each in json.loads((tmp_path / "1" / "all.json").read_text())[
        "submissions"
    ]]  # fmt: skip
    assert [scores[i] for i in (0, 2, 4, 6)] == [total] * 4
    assert all(0 < scores[i] < total for i in (1, 3, 5, 7))
    assert scores[8:] == [0, 0]
