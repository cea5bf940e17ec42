"""``minigrad reset``: writes the stub of an exercise again and keeps the learner's file."""

import itertools
import os

from minigrad.course import learner, progress, screens
from minigrad.files import replacing


def add_arguments(parser):
    """The options of ``minigrad reset``."""
    parser.add_argument("exercise", metavar="NN", help="the exercise, such as 05")
    learner.add_course(parser)


def run(arguments):
    """Reset; returns the exit status."""
    return learner.attempt("reset", _reset, arguments)


def _reset(course, arguments):
    exercise = course.exercise(arguments.exercise)
    path = progress.answer_file(course, exercise)
    text = learner.pristine(course, exercise)
    if learner.untouched(course, exercise):
        print(f" {screens.shown_path(path)} is as it was at first: nothing to reset.")
        return 0
    try:
        kept = set_aside(path)
        with replacing(path, "w", encoding="utf-8", newline="") as file:
            file.write(text)
    except OSError as error:
        raise learner.TroubleError(f"{path} cannot be written: {error.strerror}") from None
    progress.keep(
        course, exercise, status=progress.UNTOUCHED, score=0, total=exercise.total, right=(),
        digest=progress.digest(course, exercise),
    )  # fmt: skip
    print(f" {screens.shown_path(path)} is the stub again.")
    if kept:
        print(f" Your file is kept in {screens.shown_path(kept)}.")
    return 0


def set_aside(path):
    """Copy a file to the first free name beside it (``name.py.1``, …); None if there is no file.

    The name is claimed and filled before it is returned, so that nothing can be lost.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    for number in itertools.count(1):
        copy = path.with_name(f"{path.name}.{number}")
        try:
            with open(copy, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            continue
        return copy
