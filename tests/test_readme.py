"""The README tells the truth: its Python runs, and what its commands and links name exists."""

import contextlib
import importlib.metadata
import io
import os
import re
import shlex
import shutil
import tomllib
from functools import reduce
from pathlib import Path

import pytest

import minigrad as mg
from minigrad.course import cli, judge, manifest, progress, watch
from minigrad.models import store

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)


def commands():
    """Every command that stands in a shell block or in backticks, cut at `&&`."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
    starts = ("pip ", "minigrad ", "pytest", "jupyter ", "python3 ", ".ci/")
    lines += [code for code in re.findall(r"`([^`\n]+)`", prose) if code.startswith(starts)]
    return [step.strip() for line in lines for step in line.split("&&")]


def named(program):
    """The arguments of every command of one program."""
    split = [shlex.split(command) for command in commands()]
    return [words[1:] for words in split if words[0] == program]


@pytest.mark.parametrize("code", blocks("python"), ids=lambda code: f"{len(code)} characters")
def test_python_blocks_print_what_they_say(code, tmp_path, monkeypatch):
    for name in re.findall(r'models\.load\("(.*?)"\)', code):
        if store.cached(name) is None:
            pytest.skip(f"{name} is not here; fetch it once: minigrad download {name}")
    monkeypatch.chdir(tmp_path)
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen):
        exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    said = re.findall(r"^print\(.*\) +# (.*)$", code, flags=re.MULTILINE)
    assert said, "a block that shows nothing proves nothing"
    assert screen.getvalue().splitlines() == said


@pytest.mark.parametrize(
    "command",
    [
        'pip install -e ".[course]" && minigrad tour',
        'pip install -e ".[course,test]" && pytest',
    ],
)
def test_the_two_commands_stand_on_lines_of_their_own(command):
    assert README.splitlines().count(command) == 1


def test_every_install_names_extras_that_exist():
    installs = named("pip")
    assert len(installs) >= 5
    for words in installs:
        assert words[:2] == ["install", "-e"]
        place, extras = re.fullmatch(r"(\.)\[([\w,-]+)\]", words[2]).groups()
        assert (place, set(extras.split(",")) - set(PROJECT["optional-dependencies"])) == (
            ".",
            set(),
        )


def test_every_minigrad_command_exists_with_its_options():
    assert len(named("minigrad")) >= 4
    for words in named("minigrad"):
        assert words[0] in cli.COMMANDS
        if words[1:] != ["--help"]:
            assert callable(cli.parse(words)[0].run)


def test_the_console_script_is_the_command_line():
    assert PROJECT["scripts"] == {"minigrad": "minigrad.course.cli:main"}


def test_every_path_that_is_named_exists():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    paths = [link for link in links if not link.startswith("http")]
    paths += [word for words in named("pytest") for word in words if not word.startswith("-")]
    paths += [word for words in named("jupyter") for word in words[1:]]
    missing = [path for path in paths if not (ROOT / path).exists()]
    assert missing == []
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_options_given_to_pytest_exist(pytestconfig):
    options = [word for words in named("pytest") for word in words if word.startswith("--")]
    assert "--benchmark-only" in options
    for option in options:
        # The benchmark plug-in comes with the extra `reference`, which this run need not have.
        if not option.startswith("--benchmark"):
            pytestconfig.getoption(option.split("=")[0])


def test_every_name_of_the_library_exists():
    names = set(re.findall(r"\bmg((?:\.\w+)+)", README))
    assert {".grad", ".nn.Linear", ".models.GPT"} <= names
    for name in names:
        reduce(getattr, name.strip(".").split("."), mg)


def test_the_version_is_one():
    installed = next(iter(importlib.metadata.distributions(name="minigrad")), None)
    assert installed is None or installed.version == mg.__version__


def test_ci_runs_the_line_that_the_readme_gives():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (wanted,) = re.findall(r"^wanted='(.*)'$", script, flags=re.MULTILINE)
    assert README.splitlines().count(wanted) == 1


def test_the_screen_of_watch_is_the_one_that_is_shown(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "exercises", tmp_path / "exercises")
    monkeypatch.chdir(tmp_path)
    course = manifest.load(Path("exercises"))
    exercise = course.exercise("05")
    solution = (ROOT / "solutions" / f"{exercise.name}.py").read_text(encoding="utf-8")
    mutant = ROOT / "tests" / "mutants" / exercise.name / "bias_not_summed.py"
    text = solution + mutant.read_text(encoding="utf-8")
    progress.answer_file(course, exercise).write_text(text, encoding="utf-8")
    judgement = judge.judge(course, exercise, course.folder)
    records = {e.name: progress.Record("passed", e.total, e.total) for e in course.exercises[:4]}
    records[exercise.name] = progress.Record("tried", judgement.score, judgement.total)
    shown = f"{watch.view(course, progress.State(records), judgement)}\n\n {watch.HELP}\n"
    assert shown in blocks("text"), f"the README should show:\n{shown}"
