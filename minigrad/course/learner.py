"""What the learner's commands share: the course around them, checking, and remembering it."""

import contextlib
import importlib.util
import os
import sys
from pathlib import Path

from minigrad.course import manifest, progress, screens, stubs

#: a folder of untouched stubs that a hand-out carries, where there are no solutions
PRISTINE = ".stubs"
#: to the beginning of the line, and erase it
OVER = "\r\x1b[K"


class TroubleError(Exception):
    """Something that keeps a command from its work, in words for the learner."""


def add_course(parser):
    """The option that all these commands have."""
    parser.add_argument(
        "--course",
        metavar="FOLDER",
        type=Path,
        default=Path(),
        help="folder of the course (default: found from the current folder upwards)",
    )


def attempt(name, action, arguments):
    """The exit status of ``action(course, arguments)``; what goes wrong is said in one line."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # ticks and bars on a terminal that has none
    try:
        course = manifest.find(arguments.course)
        complaint = progress.load(course).complaint
        if not os.access(course.folder, os.W_OK):
            complaint = f"{course.folder} cannot be written: progress will not be remembered."
        if complaint:
            print(f"minigrad {name}: {complaint}", file=sys.stderr)
        return action(course, arguments)
    except (manifest.CourseError, manifest.ManifestError) as error:
        print(f"minigrad {name}: {error}", file=sys.stderr)
        return 2
    except TroubleError as error:
        print(f"minigrad {name}: {error}", file=sys.stderr)
        return 3


def check(course, exercise):
    """Check the learner's file as it is now and remember the outcome; returns the Judgement.

    Raises TroubleError where pytest is not installed.
    """
    if importlib.util.find_spec("pytest") is None:
        raise TroubleError("checking needs pytest, which is not installed: pip install pytest")
    from minigrad.course import judge

    digest = progress.digest(course, exercise)
    limits = judge.limits_of(exercise, wall=exercise.seconds)
    with waiting(f" checking exercise {exercise.number} …"):
        judgement = judge.judge(course, exercise, course.folder, tier="open", limits=limits)
    if not judgement.fault:
        progress.note(course, exercise, judgement, digest)
    return judgement


@contextlib.contextmanager
def waiting(words):
    """Words that stand on the last line of a terminal while something takes its time."""
    if not screens.live():
        yield
        return
    print(f"{OVER}{words}", end="", flush=True)
    try:
        yield
    finally:
        print(OVER, end="", flush=True)


def standing(course, exercise):
    """(Record, Judgement or None) of an exercise, checked again only if its file has changed."""
    record = progress.load(course).of(exercise)
    digest = progress.digest(course, exercise)
    if record.digest == digest:
        return record, None
    if record.status in (progress.UNTOUCHED, progress.TRIED) and untouched(course, exercise):
        changes = dict(status=progress.UNTOUCHED, score=0, total=exercise.total, right=())
        return progress.keep(course, exercise, digest=digest, **changes).of(exercise), None
    judgement = check(course, exercise)
    if judgement.fault:
        return progress.Record(progress.UNKNOWN, total=exercise.total), judgement
    return progress.load(course).of(exercise), judgement


def next_open(course, after=None):
    """(Exercise, Judgement or None) of the first that is not passed; None when all are.

    Args:
        after: an exercise to begin behind; those before it come last.
    """
    order = course.exercises
    start = order.index(after) + 1 if after else 0
    for exercise in order[start:] + order[:start]:
        record, judgement = standing(course, exercise)
        if not record.passed:
            return exercise, judgement
    return None


def untouched(course, exercise):
    """Whether the learner's file is still the stub; False where that cannot be known."""
    with contextlib.suppress(OSError, UnicodeDecodeError, TroubleError):
        text = progress.answer_file(course, exercise).read_text(encoding="utf-8")
        return text == pristine(course, exercise)
    return False


def pristine(course, exercise):
    """The text of an exercise's stub: from a hand-out's own copy, or from the solution.

    Raises TroubleError where there is neither.
    """
    name = f"{exercise.name}.py"
    copy, solution = course.folder / PRISTINE / name, course.solutions / name
    try:
        if copy.exists():
            return copy.read_text(encoding="utf-8")
        if solution.exists():
            return stubs.stub(solution.read_text(encoding="utf-8"), exercise.name)
    except (OSError, UnicodeDecodeError, SyntaxError, stubs.MarkerError) as error:
        raise TroubleError(
            f"the stub of exercise {exercise.number} cannot be made: {error}"
        ) from None
    raise TroubleError(
        f"there is no stub of exercise {exercise.number} to be had: neither {copy} nor {solution}"
    )
