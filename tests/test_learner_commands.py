"""What a learner runs: next, list, check, hint, reset and solution, on a small course."""

import dataclasses
import importlib.util
import inspect
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_course

from minigrad.course import answers, cli, failures, judge, learner, progress, screens, watch
from minigrad.course.judge import Judgement, Result
from minigrad.sandbox import verdicts

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def course(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return tiny_course.write(tmp_path)


REAL_JUDGE = judge.judge


def quick_judge(course, exercise, folder, **_):
    """A judge without walls and without pytest, for what does not depend on them."""
    student = answers.LocalAnswer(folder, exercise.name, None, exercise.may_import)
    tests = runpy.run_path(str(course.test_file(exercise)))
    found = []
    for test, points in exercise.points.items():
        needed = [answers.Answer(student.call), np.random.default_rng(0)]
        how = ("passed",)
        try:
            tests[test](*needed[: tests[test].__code__.co_argcount])
        except verdicts.Failure as failure:
            how = (failure.kind, str(failure))
        found.append(Result(test, exercise.function_of(test).name, points, *how))
    return Judgement(exercise.name, tuple(found))


@pytest.fixture(autouse=True)
def judging(monkeypatch):
    monkeypatch.setattr(judge, "judge", quick_judge)


@pytest.fixture
def real_judge(judging, monkeypatch):
    monkeypatch.setattr(judge, "judge", REAL_JUDGE)


@pytest.fixture
def minigrad(course, capsys):
    """Runs a command line: (exit status, what it printed, what it complained about)."""

    def run(*words):
        capsys.readouterr()
        try:
            status = cli.main(list(words))
        except SystemExit as end:
            status = end.code
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return run


@pytest.fixture
def checks(monkeypatch):
    """The numbers of the exercises that are checked, as they are checked."""
    numbers, check = [], learner.check

    def counted(course, exercise):
        numbers.append(exercise.number)
        return check(course, exercise)

    monkeypatch.setattr(learner, "check", counted)
    return numbers


def write(course, text, number="01"):
    path = progress.answer_file(course, course.exercise(number))
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def results(course, kind="passed", message="", frames=(), number="01", failing=1):
    """A Judgement in which the tests from some place on failed, all in one way."""
    exercise = course.exercise(number)
    found = []
    for place, (test, points) in enumerate(exercise.points.items()):
        how = ("passed",) if place < failing else (kind, message, tuple(frames))
        found.append(Result(test, exercise.function_of(test).name, points, *how))
    return Judgement(exercise.name, tuple(found))


# next


def test_next_shows_the_first_exercise_and_what_to_write(minigrad):
    status, shown, complaint = minigrad("next")
    assert (status, complaint) == (0, "")
    for words in ("01  Doubling", "0 of 6 points", "01_doubling.ipynb"):
        assert words in shown
    for words in (os.path.join("exercises", "ex01_doubling.py"), "· double", "double every number"):
        assert words in shown
    assert "Shapes" not in shown


def test_next_ticks_what_is_right(course, minigrad):
    tiny_course.solve(course, "01", "\n\ndef total(x):\n    return 0.0\n")
    _, shown, _ = minigrad("next")
    assert "✓ double" in shown
    assert "· total" in shown
    assert "3 of 6 points" in shown


def test_next_goes_on_when_an_exercise_passes_and_ends_with_the_last(course, minigrad):
    tiny_course.solve(course, "01")
    assert "02  Shapes" in minigrad("next")[1]
    tiny_course.solve(course, "02")
    status, shown, _ = minigrad("next")
    assert (status, shown) == (0, " Every exercise is passed: 2 of them, 10 points.\n")


def test_untouched_stubs_are_known_without_running_them(minigrad, checks):
    assert minigrad("next")[0] == minigrad("list")[0] == 0
    assert checks == []


# list


def test_list_shows_all_with_bars_and_points(course, minigrad):
    tiny_course.solve(course, "01")
    _, shown, _ = minigrad("list")
    first, second, _, last = shown.splitlines()
    assert re.fullmatch(r" ✓ 01  Doubling +━{12} +6/6", first)
    assert re.fullmatch(r" · 02  Shapes +·{12} +0/4 +next", second)
    assert last.endswith("1 of 2 exercises, 6 of 10 points")


def test_list_checks_only_what_has_changed(course, minigrad, checks):
    tiny_course.solve(course, "01")
    minigrad("list")
    minigrad("list")
    assert checks == ["01"]
    (course.folder / "a_helper_file.py").write_text("x = 1\n")
    minigrad("list")
    assert checks == ["01"]
    tiny_course.solve(course, "02")
    minigrad("list")
    assert checks == ["01", "02"]


def test_a_passed_exercise_that_is_broken_later_shows_as_broken(course, minigrad):
    tiny_course.solve(course, "01")
    assert "✓ 01" in minigrad("list")[1]
    write(course, "def double(x):\n    return x\n")
    _, shown, _ = minigrad("list")
    assert re.search(r"✗ 01 .* 0/6 +broken", shown)
    assert "0 of 2 exercises" in shown
    assert "01  Doubling" in minigrad("next")[1]
    assert "It passed once and is broken now" in minigrad("next")[1]
    assert "it passed once and is broken now" in minigrad("check")[1]
    tiny_course.solve(course, "01")
    assert "✓ 01" in minigrad("list")[1]


@pytest.mark.usefixtures("real_judge")
def test_a_passed_exercise_whose_tests_change_is_checked_again(course, minigrad, checks):
    tiny_course.solve(course, "01")
    minigrad("list")
    tests = course.test_file(course.exercise("01"))
    tests.write_text(tests.read_text() + "\n")
    minigrad("list")
    assert checks == ["01", "01"]


# check


@pytest.mark.usefixtures("real_judge")
def test_check_takes_the_next_exercise_and_says_what_is_wrong_first(course, minigrad):
    write(course, "def double(x):\n    return x * x + 1\n\n\ndef total(x):\n    return 1 / 0\n")
    status, shown, _ = minigrad("check")
    assert status == 1
    assert "A wrong answer" in shown
    assert "double(2)" in shown
    assert re.search(r"expected: +4\n +got: +5\n", shown)
    assert "Likely mistake: it is squared and one is added." in shown
    assert "0 of 2 functions are right" in shown
    assert "ex01_doubling.py:1\n" in shown
    assert "minigrad hint 01" in shown
    assert "total" not in shown
    assert "ZeroDivisionError" not in shown


@pytest.mark.usefixtures("real_judge")
def test_check_of_a_right_answer_names_the_next_exercise(course, minigrad):
    tiny_course.solve(course, "01")
    status, shown, _ = minigrad("check", "01")
    assert status == 0
    assert "✓ 01 is passed: 2 functions, 6 points." in shown
    assert "minigrad solution 01" in shown
    assert "Next: 02  Shapes" in shown


def test_check_of_several_shows_each_in_a_line_and_one_failure(course, minigrad):
    tiny_course.solve(course, "02")
    status, shown, _ = minigrad("check", "ex02", "1")
    assert status == 1
    assert "✓ 02  Shapes" in shown
    assert "· 01  Doubling" in shown
    assert shown.count("Not written yet") == 1
    tiny_course.solve(course, "01")
    assert minigrad("check", "01", "02")[0] == 0
    assert minigrad("check") == (0, " Every exercise is passed: 2 of them, 10 points.\n", "")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["check", "07"], "no exercise '07'; there are 01, 02"),
        (["check", "--course", "/"], "no exercises here"),
        (["hint", "x"], "no exercise 'x'"),
        (["watch", "99"], "no exercise '99'"),
    ],
)
def test_a_wrong_command_line_ends_with_status_2_and_one_line(minigrad, words, message):
    status, shown, complaint = minigrad(*words)
    assert (status, shown) == (2, "")
    assert message in complaint
    assert "Traceback" not in complaint


def test_a_manifest_that_is_no_toml_is_named(course, minigrad):
    (course.folder / "course.toml").write_text("[ex01")
    status, _, complaint = minigrad("list")
    assert status == 2
    assert "course.toml" in complaint


def test_the_course_is_found_from_below_and_by_name(course, minigrad, monkeypatch, tmp_path):
    monkeypatch.chdir(course.folder)
    assert "01  Doubling" in minigrad("next")[1]
    monkeypatch.chdir("/")
    assert "01  Doubling" in minigrad("next", "--course", str(tmp_path))[1]


def test_a_missing_pytest_is_named_with_the_command_that_brings_it(minigrad, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pytest" else find(name)
    )
    status, _, complaint = minigrad("check", "01")
    assert status == 3
    assert "pip install pytest" in complaint


@pytest.mark.usefixtures("real_judge")
def test_a_fault_of_the_check_itself_is_no_failure_of_the_learner(course, minigrad):
    course.test_file(course.exercise("02")).write_text("def test_the_rows_are_counted(answer:\n")
    tiny_course.solve(course, "02")
    status, shown, _ = minigrad("check", "02")
    assert status == 3
    assert "not your code's fault" in shown
    assert "? 02" in minigrad("list")[1]


def test_check_imports_nothing_slow():
    """A second and a half are promised; numba and matplotlib would take most of it."""
    code = (
        "import sys; from minigrad.course import answers, cli, judge\n"
        "try: cli.main(['check', '--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('numba', 'matplotlib', 'tqdm', 'IPython') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert found.stdout.splitlines()[-1] == "[]", found.stderr


# what each kind of failure looks like

BROKEN_FILES = {
    "a stub": ("def double(x):\n    raise NotImplementedError\n", ["Not written yet", "py:2"]),
    "a wrong answer": ("def double(x):\n    return 7\n", ["A wrong answer", "expected:", "got:"]),
    "a crash": (
        "def helper(x):\n    return x[0]\n\n\ndef double(x):\n    return helper(x)\n",
        ["A crash", "TypeError", "py:2", "2  return x[0] ", "in helper", "6  return helper(x)"],
    ),
    "a time-out": (
        "def double(x):\n    while True:\n        pass\n",
        ["It takes too long", "0.5 seconds", "loop that never ends"],
    ),
    "an exit": ("import os\n\n\ndef double(x):\n    os._exit(0)\n", ["The process ended"]),
    "a forbidden call": (
        "import numpy as np\n\n\ndef double(x):\n    return np.cumsum([x, x])[1]\n",
        ["Not allowed in this exercise", "py:5", "numpy.cumsum"],
    ),
    "a forbidden import": (
        "import minigrad\n",
        ["Not allowed in this exercise", "py:1", "No function could be tried"],
    ),
    "no Python": ("x = 1\ndef double(x)\n", ["The file cannot be read", "py:2", "line 2:"]),
    "a crash when it is read": (
        "import numpy\n\nfoo\n",
        ["A crash", "NameError", "py:3", "No function could be tried"],
    ),
    "null bytes": (b"x = 1\n\0\n", ["The file cannot be read"]),
    "an empty file": (b"", ["The function is missing"]),
    "a set": ("def double(x):\n    return {x}\n", ["An answer of a strange type", "set"]),
    "a changed input": (
        "def double(x):\n    x += x\n    return x\n",
        ["It changes what it was given", "Work on a copy"],
    ),
}


@pytest.mark.usefixtures("real_judge")
@pytest.mark.parametrize("case", BROKEN_FILES)
def test_every_kind_of_failure_reads_differently(course, minigrad, case):
    text, expected = BROKEN_FILES[case]
    write(course, text)
    if case == "a time-out":
        path = course.folder / "course.toml"
        path.write_text(path.read_text().replace("seconds = 2", "seconds = 0.5"))
    status, shown, complaint = minigrad("check", "01")
    assert (status, complaint) == (1, "")
    for words in expected:
        assert words in shown
    titles = {title for title, _ in failures.WORDS.values()}
    assert [title for title in titles if f" {title}  " in shown] == [expected[0]]
    assert "Traceback" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_missing_file_is_told_with_the_command_that_brings_it_back(course, minigrad):
    write(course, "").unlink()
    status, shown, _ = minigrad("check", "01")
    assert status == 1
    assert "There is no file" in shown
    assert "minigrad reset 01" in shown


def test_every_verdict_has_words_of_its_own():
    kinds = {
        verdict.kind
        for _, verdict in inspect.getmembers(verdicts, inspect.isclass)
        if issubclass(verdict, verdicts.Failure) and verdict is not verdicts.Failure
    }
    assert sorted(failures.WORDS) == sorted(kinds)
    assert len({title for title, _ in failures.WORDS.values()}) == len(kinds)


@pytest.mark.usefixtures("real_judge")
def test_what_the_code_prints_is_shown_in_part_and_cannot_touch_the_terminal(course, minigrad):
    loop = "for i in range(30):\n        print(i, '\\x1b[2J\\x07')"
    write(course, f"def double(x):\n    {loop}\n    return 5\n")
    _, shown, _ = minigrad("check")
    assert "Printed in the tests:" in shown
    assert "│ 4 " in shown
    assert "│ 5 " not in shown
    assert "lines more" in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


@pytest.mark.usefixtures("real_judge")
def test_a_long_recursion_is_shown_once(course, minigrad):
    write(course, "def double(x):\n    return double(x)\n")
    _, shown, _ = minigrad("check")
    assert shown.count("return double(x)") == 1
    assert "more times" in shown


# screens as text

LONG = "double(\n" + "\n".join(f"    row {i}" for i in range(40)) + "\n)"
MESSAGES = {
    "short": "double(2)\n\nexpected: 4\ngot: 5",
    "long": f"{LONG}\n\nexpected:\n{LONG}\ngot:\n{LONG}\nthe shapes differ\n\nLikely mistake: x.",
    "wide": "double(" + "1234567890, " * 60 + ")",
    "one word": "x" * 4000,
    "nothing": "",
}


@pytest.mark.parametrize("message", MESSAGES)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_screen_keeps_to_its_width_and_height(course, width, message):
    frames = [("ex01_doubling.py", 3, "double", "x = " + "y + " * 60)]
    for kind in failures.WORDS:
        judgement = results(course, kind, MESSAGES[message], frames)
        judgement = dataclasses.replace(judgement, output="word " * 400 + "\n\n\n" * 40)
        for height in (12, 24, 50):
            shown = watch.view(course, progress.State({}), judgement, width, height).splitlines()
            assert max(map(len, shown)) < width
            assert len(shown) < height
        assert "2 functions are right" in shown[1]


def test_a_screen_that_is_cut_keeps_what_says_what_is_wrong(course):
    judgement = results(course, "wrong", MESSAGES["long"])
    shown = watch.view(course, progress.State({}), judgement, 80, 24)
    for words in ("double(…)", "the shapes differ", "Likely mistake: x.", "minigrad check 01"):
        assert words in shown
    whole = watch.view(course, progress.State({}), judgement, 80)
    assert whole.count("row 39") == 3


def test_colours_change_nothing_but_colours(course):
    for kind in failures.WORDS:
        judgement = results(course, kind, MESSAGES["short"])
        plain = watch.view(course, progress.State({}), judgement, news="news")
        coloured = watch.view(
            course, progress.State({}), judgement, paint=screens.Ink(True), news="news"
        )
        assert "\x1b[" in coloured
        assert re.sub(r"\x1b\[\d+m", "", coloured) == plain


def test_colours_are_for_terminals_that_want_them(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert not screens.ink().colour
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert screens.ink().colour == (os.name != "nt" or "WT_SESSION" in os.environ)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not screens.ink().colour
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not screens.ink().colour


def test_a_bar_is_full_only_when_all_is_done():
    assert screens.bar(0, 1000) == "·" * 20
    assert screens.bar(1, 1000) == "━" + "·" * 19
    assert screens.bar(999, 1000) == "━" * 19 + "·"
    assert screens.bar(1000, 1000) == "━" * 20


# progress


def test_progress_is_one_readable_line_an_exercise(course, minigrad):
    tiny_course.solve(course, "01", "\n\ndef total(x):\n    return 0.0\n")
    minigrad("check", "01")
    minigrad("hint", "01")
    comment, line = (course.folder / ".progress").read_text().splitlines()
    assert comment.startswith("# ")
    assert "may be deleted" in comment
    assert re.fullmatch(r"ex01_doubling tried 3/6 [0-9a-f]{12} right=double hints=total:1", line)


def test_a_record_survives_being_written_and_read(course):
    exercise = course.exercise("02")
    record = progress.Record("broken", 2, 4, "0123456789ab", ("rows", "more"), {"rows": 2})
    progress.keep(course, exercise, **vars(record))
    assert progress.load(course).of(exercise) == record
    assert progress.load(course).complaint == ""


def test_progress_can_be_deleted(course, minigrad):
    tiny_course.solve(course, "01")
    minigrad("check", "01")
    (course.folder / ".progress").unlink()
    status, shown, complaint = minigrad("list")
    assert (status, complaint) == (0, "")
    assert "✓ 01" in shown


GOOD = "ex01_doubling tried 3/6 0123456789ab right=double hints=total:1"
NONSENSE = {
    "binary": b"\x80\x00\xff" * 100,
    "prose": b"the dog ate it\n",
    "an unknown status": GOOD.replace("tried", "great").encode(),
    "more points than there are": GOOD.replace("3/6", "9/6").encode(),
    "passed without its points": GOOD.replace("tried", "passed").encode(),
    "numbers without end": GOOD.replace("3/6", "9" * 5000 + "/6").encode(),
    "cut in the middle": GOOD[:30].encode(),
    "hints without number": GOOD.replace("total:1", "total:").encode(),
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
def test_progress_full_of_nonsense_starts_afresh_with_a_word(course, minigrad, nonsense):
    (course.folder / ".progress").write_bytes(nonsense)
    status, shown, complaint = minigrad("next")
    assert status == 0
    assert "01  Doubling" in shown
    assert "progress starts afresh" in complaint
    assert minigrad("next")[2] == ""


def test_good_lines_among_nonsense_are_kept(course, minigrad):
    tiny_course.solve(course, "02")
    minigrad("check", "02")
    path = course.folder / ".progress"
    path.write_text("nonsense\n" + path.read_text() + "\nex01_doub")
    _, shown, complaint = minigrad("list")
    assert "1 of its exercises are kept" in complaint
    assert "✓ 02" in shown


def test_progress_that_is_a_folder_only_means_that_nothing_is_remembered(course, minigrad):
    (course.folder / ".progress").mkdir()
    tiny_course.solve(course, "01")
    status, _, complaint = minigrad("check", "01")
    assert status == 0
    assert "Traceback" not in complaint
    assert "✓ 01" not in minigrad("hint", "01")[1]


def test_a_folder_that_cannot_be_written_is_said_once(course, minigrad, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(progress, "replacing", refuse)
    monkeypatch.setattr(os, "access", lambda *_: False)
    tiny_course.solve(course, "01")
    status, shown, complaint = minigrad("check", "01")
    assert status == 0
    assert "is passed" in shown
    assert complaint.count("will not be remembered") == 1


# hint


def test_hints_come_one_by_one_and_the_last_stays(minigrad):
    first, second, third, again = (minigrad("hint", "01")[1] for _ in range(4))
    assert "Hint 1 of 3: What is x + x?" in first
    assert "2 hints left" in first
    assert "Hint 2 of 3: Two times x." in second
    assert "1 hint left" in second
    assert "Hint 3 of 3: return 2 * x" in third
    assert "That was the last hint" in third
    assert "Hint 3 of 3, again: return 2 * x" in again


def test_the_hint_is_for_the_first_function_that_is_not_right(course, minigrad, checks):
    tiny_course.solve(course, "01", "\n\ndef total(x):\n    return 0.0\n")
    _, shown, _ = minigrad("hint", "01")
    assert "total: add up all the numbers" in shown
    assert "Hint 1 of 3: Begin with nothing." in shown
    minigrad("hint", "01")
    assert checks == ["01"]


def test_a_file_in_the_middle_of_a_change_keeps_its_place_in_the_hints(course, minigrad):
    tiny_course.solve(course, "01", "\n\ndef total(x):\n    return 0.0\n")
    minigrad("check", "01")
    tiny_course.solve(course, "01", "\n\ndef total(x):\n    return (\n")
    assert "Begin with nothing." in minigrad("hint", "01")[1]


def test_no_hint_is_used_up_by_a_file_that_cannot_be_read(course, minigrad):
    write(course, "def double(x)\n")
    status, shown, _ = minigrad("hint", "01")
    assert status == 1
    assert "line 1: expected ':'" in shown
    assert "No hint is used up" in shown
    assert progress.load(course).of(course.exercise("01")).hints == {}


def test_a_passed_exercise_needs_no_hint(course, minigrad):
    tiny_course.solve(course, "01")
    status, shown, _ = minigrad("hint", "01")
    assert status == 0
    assert "01 is passed" in shown


# reset


def test_reset_writes_the_stub_and_keeps_every_old_file(course, minigrad):
    path = write(course, "first = 1\n")
    stub = learner.pristine(course, course.exercise("01"))
    minigrad("check", "01")
    for number, text in enumerate(["first = 1\n", "second = 2\n", "third = 3\n"], 1):
        path.write_text(text)
        status, shown, _ = minigrad("reset", "01")
        assert status == 0
        assert f"ex01_doubling.py.{number}" in shown
        assert path.read_text() == stub
    kept = [path.with_name(f"{path.name}.{n}").read_text() for n in (1, 2, 3)]
    assert kept == ["first = 1\n", "second = 2\n", "third = 3\n"]
    assert "· 01" in minigrad("list")[1]


def test_reset_of_a_stub_changes_nothing(course, minigrad):
    _, shown, _ = minigrad("reset", "01")
    assert "nothing to reset" in shown
    assert not list(course.folder.glob("*.py.*"))


def test_reset_brings_back_a_file_that_is_gone(course, minigrad):
    path = write(course, "")
    path.unlink()
    assert minigrad("reset", "01")[0] == 0
    assert "NotImplementedError" in path.read_text()
    assert not list(course.folder.glob("*.py.*"))


def test_reset_forgets_that_an_exercise_passed_but_not_its_hints(course, minigrad):
    minigrad("hint", "01")
    tiny_course.solve(course, "01")
    minigrad("check", "01")
    minigrad("reset", "01")
    assert "broken" not in minigrad("list")[1]
    assert "Hint 2 of 3" in minigrad("hint", "01")[1]


def test_reset_that_cannot_write_loses_nothing(course, minigrad, monkeypatch):
    from minigrad.course import reset

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    path = write(course, "mine = 1\n")
    monkeypatch.setattr(reset, "replacing", refuse)
    status, _, complaint = minigrad("reset", "01")
    assert status == 3
    assert "Permission denied" in complaint
    assert path.read_text() == "mine = 1\n"


def test_reset_in_a_hand_out_takes_the_stubs_that_it_carries(course, minigrad, tmp_path):
    (tmp_path / "solutions").rename(tmp_path / "elsewhere")
    path = write(course, "mine = 1\n")
    status, _, complaint = minigrad("reset", "01")
    assert status == 3
    assert "no stub of exercise 01" in complaint
    assert path.read_text() == "mine = 1\n"
    (course.folder / ".stubs").mkdir()
    (course.folder / ".stubs" / path.name).write_text("the stub\n")
    assert minigrad("reset", "01")[0] == 0
    assert path.read_text() == "the stub\n"


# solution


def test_a_solution_is_shown_only_to_those_who_pass_or_spoil(course, minigrad):
    status, shown, complaint = minigrad("solution", "01")
    assert (status, shown) == (1, "")
    assert "minigrad hint 01" in complaint
    assert "--spoil" in complaint
    status, spoilt, _ = minigrad("solution", "01", "--spoil")
    assert status == 0
    assert "return 2 * x" in spoilt
    assert "SOLUTION" not in spoilt
    tiny_course.solve(course, "01")
    assert minigrad("solution", "01") == (0, spoilt, "")


def test_a_hand_out_says_that_it_has_no_solutions(course, minigrad, tmp_path):
    (tmp_path / "solutions").rename(tmp_path / "elsewhere")
    status, shown, complaint = minigrad("solution", "01", "--spoil")
    assert (status, shown) == (1, "")
    assert "solutions are not part of this folder" in complaint
    write(course, "def rows(x):\n    return x.shape[0]\n", "02")
    status, shown, _ = minigrad("check", "02")
    assert status == 0
    assert "minigrad solution" not in shown


# what comes first


def test_the_overview_groups_the_commands_of_the_exercises():
    shown = cli.overview()
    exercises = shown[shown.index("\nExercises\n") : shown.index("\nThen\n")]
    for name in ("next", "watch", "check", "hint", "list", "reset", "solution"):
        assert f"  minigrad {name} " in exercises
    assert len(shown.splitlines()) < 40
    assert max(map(len, shown.splitlines())) <= 80


def test_a_check_is_limited_by_the_clock_that_the_manifest_gives(course, monkeypatch):
    seen = []

    def judged(course, exercise, folder, **options):
        seen.append((folder, options["tier"], options["limits"].wall))
        return results(course)

    monkeypatch.setattr(judge, "judge", judged)
    learner.check(course, course.exercise("01"))
    assert seen == [(course.folder, "open", 2.0)]
