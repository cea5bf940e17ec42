"""The course manifest: which exercises there are, in which order, and what each is worth."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

FILE = "course.toml"
KEYS = {"title", "notebook", "seconds", "may_import", "may_not_call", "functions"}
FUNCTION_KEYS = {"task", "points", "hints"}
MIN_HINTS = 3


class ManifestError(Exception):
    """The manifest cannot be read, or does not hold together."""


class CourseError(Exception):
    """There is no course here, or no such exercise in it."""


@dataclass(frozen=True)
class Function:
    """A function to be written: its task in one line, {test: points}, hints vague to concrete."""

    name: str
    task: str
    points: dict
    hints: tuple

    @property
    def total(self):
        """All its points."""
        return sum(self.points.values())


@dataclass(frozen=True)
class Exercise:
    """An exercise: a file of functions to be written, with its tests."""

    name: str
    title: str
    notebook: str
    seconds: float
    may_import: tuple
    may_not_call: tuple
    functions: tuple

    @property
    def number(self):
        """The row of the syllabus, as text of two digits: ``"05"``."""
        return self.name[2:4]

    @property
    def points(self):
        """{test: points} of all functions, in order."""
        return {test: value for f in self.functions for test, value in f.points.items()}

    @property
    def total(self):
        """All points of the exercise."""
        return sum(function.total for function in self.functions)

    def function_of(self, test):
        """The function that a test is about; None if the manifest does not have the test."""
        return next((f for f in self.functions if test in f.points), None)


@dataclass(frozen=True)
class Course:
    """The exercises of a folder that holds ``course.toml``, in order."""

    folder: Path
    exercises: tuple

    @property
    def given(self):
        """The file whose functions tests pass on by name, or None."""
        path = self.folder / "_given.py"
        return path if path.exists() else None

    @property
    def solutions(self):
        """The folder of solutions; it need not exist."""
        return self.folder.parent / "solutions"

    def test_file(self, exercise):
        """The test file of an exercise."""
        return self.folder / f"test_{exercise.name}.py"

    def exercise(self, word):
        """The exercise that a learner means: 5, "05", "ex05" or its whole name, with ".py" or not.

        Raises CourseError, which lists what there is.
        """
        text = Path(str(word)).stem.removeprefix("test_")
        digits = text.removeprefix("ex").partition("_")[0]
        by_number = "_" not in text and digits.isdecimal()
        for exercise in self.exercises:
            if text in (exercise.name, exercise.name[5:]):
                return exercise
            if by_number and int(digits) == int(exercise.number):
                return exercise
        known = ", ".join(exercise.number for exercise in self.exercises)
        raise CourseError(f"no exercise {str(word)!r}; there are {known}")


def find(start="."):
    """The course around a folder: its own, its ``exercises``, or those of a folder above.

    Raises CourseError if there is none.
    """
    start = Path(start).resolve()
    for folder in (start, *start.parents):
        for place in (folder, folder / "exercises"):
            if (place / FILE).is_file():
                return load(place)
    raise CourseError(
        f"no exercises here: neither {start} nor a folder above it holds exercises/{FILE}. "
        "Change to the folder of the course, or name it with --course FOLDER."
    )


def load(folder):
    """The course in a folder; raises ManifestError where ``course.toml`` is not as it should be."""
    path = Path(folder) / FILE
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"{path}: {error}") from None
    return Course(
        path.parent, tuple(_exercise(path, name, table) for name, table in tables.items())
    )


def _exercise(path, name, table):
    def need(condition, what):
        if not condition:
            raise ManifestError(f"{path}, [{name}]: {what}")

    good = name[:2] == "ex" and name[2:4].isdigit() and name[4:5] == "_" and name.isidentifier()
    need(good, "an exercise is named exNN_topic")
    need(type(table) is dict and set(table) == KEYS, f"needs the keys {', '.join(sorted(KEYS))}")
    seconds = table["seconds"]
    need(type(seconds) in (int, float) and seconds > 0, "seconds must be a positive number")
    functions = []
    for function, entry in table["functions"].items():
        where = f"function {function}"
        need(set(entry) == FUNCTION_KEYS, f"{where} needs {', '.join(sorted(FUNCTION_KEYS))}")
        points = entry["points"]
        whole = all(type(value) is int and value > 0 for value in points.values())
        need(points and whole, f"{where}: points are whole numbers above 0")
        need(len(entry["hints"]) >= MIN_HINTS, f"{where} needs {MIN_HINTS} hints or more")
        functions.append(Function(function, entry["task"], dict(points), tuple(entry["hints"])))
    need(functions, "needs at least one function")
    tests = [test for function in functions for test in function.points]
    need(len(tests) == len(set(tests)), "a test belongs to two functions")
    return Exercise(
        name,
        table["title"],
        table["notebook"],
        float(seconds),
        tuple(table["may_import"]),
        tuple(table["may_not_call"]),
        tuple(functions),
    )
