"""``minigrad handout``: a folder of exercises to give to students.

It works alone beside an installed minigrad: the stubs, their tests and what these need. Nothing of
the solutions is in it.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from minigrad.course import manifest, stubs
from minigrad.course.learner import PRISTINE

README = """\
# Exercises

{count} to write in Python, with tests that say what is wrong.

| | Exercise | File | Notebook | Points |
|---|---|---|---|---|
{rows}

You need Python 3.11 or newer with minigrad and pytest (`pip install "minigrad[course,test]"`, or \
as your instructor says). Then, in this folder:

```sh
minigrad next     # what to write first, and where
minigrad watch    # checks it whenever you save
minigrad hint {first}  # if you are stuck; ask again for more
```

Without the command, `pytest {file}` runs the tests of one exercise, and `pytest` all.

Write only in the `exNN` files, in place of `raise NotImplementedError`. Files of your own beside \
them may be imported. Every function takes and returns plain values (numbers, strings, arrays, and \
tuples, lists and dicts of them), must leave its arguments as they are, and is graded with other \
inputs than those of the tests here. Hand in this folder, or a zip of it.
"""


class HandoutError(Exception):
    """The folder cannot be made; the message says why."""


def add_arguments(parser):
    """The options of ``minigrad handout``."""
    parser.description = "Make a folder to give to students: stubs, tests and what these need."
    parser.add_argument("exercises", nargs="*", metavar="NN", help="which ones; all by default")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="a new folder")
    parser.add_argument("--course", type=Path, default=Path(), help="folder of the course")


def run(arguments):
    """Make the folder; the exit status is 2 where that is not possible."""
    try:
        course = manifest.find(arguments.course)
        wanted = {course.exercise(word).name for word in arguments.exercises}
        chosen = [each for each in course.exercises if not wanted or each.name in wanted]
        make(course, chosen, arguments.to)
    except (
        manifest.CourseError,
        manifest.ManifestError,
        stubs.MarkerError,
        HandoutError,
        OSError,
    ) as error:
        print(f"minigrad handout: {error}", file=sys.stderr)
        return 2
    for exercise in chosen:
        print(f"{exercise.number}  {exercise.title}")
    print(f"\n{arguments.to} is ready: send it, or a zip of it, to your students.")
    return 0


def make(course, exercises, folder):
    """Make a folder that holds some exercises of a course and all that they need.

    Raises HandoutError if the folder has files in it or a stub is missing; then nothing is left
    behind.
    """
    folder = Path(folder).absolute()
    if folder.is_dir() and any(folder.iterdir()):
        raise HandoutError(f"{folder} has files in it; name a new folder")
    if folder.exists() and not folder.is_dir():
        raise HandoutError(f"{folder} is a file")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        for name, content in contents(course, exercises).items():
            path = made / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        made.chmod(0o755)
        if folder.exists():
            folder.rmdir()
        os.rename(made, folder)
    except BaseException:
        shutil.rmtree(made)
        raise


def contents(course, exercises):
    """{place: bytes} of all files of a handout."""
    files = {
        "README.md": _readme(exercises).encode(),
        manifest.FILE: toml(exercises).encode(),
        "conftest.py": (course.folder / "conftest.py").read_bytes(),
    }
    if course.given:
        files[course.given.name] = course.given.read_bytes()
    for exercise in exercises:
        text = _stub(course, exercise)
        files[f"{exercise.name}.py"] = files[f"{PRISTINE}/{exercise.name}.py"] = text
        files[course.test_file(exercise).name] = course.test_file(exercise).read_bytes()
    return files


def _stub(course, exercise):
    """A fresh stub: from the solution where there is one, as exercises/ may be worked in."""
    solution = course.solutions / f"{exercise.name}.py"
    if solution.exists():
        return stubs.stub(solution.read_text(encoding="utf-8"), exercise.name).encode()
    for path in (course.folder / PRISTINE, course.folder):
        if (path / f"{exercise.name}.py").exists():
            return (path / f"{exercise.name}.py").read_bytes()
    raise HandoutError(f"there is neither a solution nor a stub of {exercise.name}")


def _readme(exercises):
    rows = "\n".join(
        f"| {e.number} | {e.title} | `{e.name}.py` | {e.notebook} | {e.total} |" for e in exercises
    )
    count = "One exercise" if len(exercises) == 1 else f"{len(exercises)} exercises"
    first = exercises[0]
    return README.format(count=count, rows=rows, first=first.number, file=f"test_{first.name}.py")


def toml(exercises):
    """A manifest of some exercises, as TOML."""
    lines = []
    for exercise in exercises:
        lines += [
            f"[{exercise.name}]",
            f"title = {_string(exercise.title)}",
            f"notebook = {_string(exercise.notebook)}",
            f"seconds = {exercise.seconds:g}",
            f"may_import = {_strings(exercise.may_import)}",
            f"may_not_call = {_strings(exercise.may_not_call)}",
            "",
        ]
        for function in exercise.functions:
            lines += [
                f"[{exercise.name}.functions.{_key(function.name)}]",
                f"task = {_string(function.task)}",
                "hints = [",
                *(f"    {_string(hint)}," for hint in function.hints),
                "]",
                *(f"points.{_key(test)} = {points}" for test, points in function.points.items()),
                "",
            ]
    return "\n".join(lines)


def _key(name):
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else _string(name)


def _strings(texts):
    return f"[{', '.join(map(_string, texts))}]"


def _string(text):
    # JSON's escapes are TOML's, but for the one control character that JSON leaves alone.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
