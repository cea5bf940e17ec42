"""``minigrad hint``: the next hint for the first function that is not yet right."""

import ast
import textwrap
import warnings
from typing import NamedTuple

from minigrad.course import failures, learner, progress, screens


class Hint(NamedTuple):
    """A hint of a function's ladder; ``again`` if it is the last one and was read before."""

    function: object
    number: int
    again: bool

    @property
    def left(self):
        """How many are still to be read."""
        return len(self.function.hints) - self.number

    @property
    def text(self):
        """The hint itself."""
        return self.function.hints[self.number - 1]


def add_arguments(parser):
    """The options of ``minigrad hint``."""
    parser.add_argument("exercise", metavar="NN", help="the exercise, such as 05")
    learner.add_course(parser)


def run(arguments):
    """Show a hint; the exit status is 1 where there is none to give."""
    return learner.attempt("hint", _show, arguments)


def _show(course, arguments):
    exercise = course.exercise(arguments.exercise)
    width, paint = screens.columns(), screens.ink()
    record = progress.load(course).of(exercise)
    # A file in the middle of a change is no reason to forget where its author is stuck.
    problem = unreadable(course, exercise)
    if problem and not record.right:
        print(f" {exercise.number} cannot be read yet ({problem}): mend that first.")
        print(f" No hint is used up. minigrad check {exercise.number} shows more.")
        return 1
    if not problem:
        record, judgement = learner.standing(course, exercise)
        if judgement and judgement.fault:
            print(failures.fault(exercise, judgement, width, paint))
            return 3
    hint = take(course, exercise, record)
    if hint is None:
        print(f" {exercise.number} is passed: there is nothing left to hint at.")
        return 0
    print(shown(exercise, hint, width, paint))
    return 0


def take(course, exercise, record):
    """The next Hint for the first function not right in a record, which is then noted as read.

    None if all of them are right.
    """
    open_functions = (f for f in exercise.functions if f.name not in record.right)
    function = next(open_functions, None)
    if function is None:
        return None
    seen = min(record.hints.get(function.name, 0), len(function.hints))
    again = seen == len(function.hints)
    hint = Hint(function, seen + (not again), again)
    if not again:
        hints = {**record.hints, function.name: hint.number}
        progress.keep(course, exercise, hints=hints)
    return hint


def shown(exercise, hint, width=80, paint=screens.PLAIN):
    """A hint as text, with how many are left."""
    function, number = hint.function, exercise.number
    left = f"{hint.left} {'hint' if hint.left == 1 else 'hints'} left: minigrad hint {number}"
    if not hint.left:
        left = f"That was the last hint. What the code gives: minigrad check {number}"
    return "\n".join([
        *screens.task_lines(function, width, paint),
        "",
        *lines(hint, width, paint),
        "",
        paint("dim", f" {left}"),
    ])  # fmt: skip


def lines(hint, width, paint):
    """The hint with its number, wrapped."""
    again = ", again" if hint.again else ""
    label = f"Hint {hint.number} of {len(hint.function.hints)}{again}:"
    text = textwrap.wrap(
        f" {label} {hint.text}", width - 1, subsequent_indent=" ", break_on_hyphens=False
    )
    return [text[0].replace(label, paint("note", label), 1), *text[1:]]


def unreadable(course, exercise):
    """Why the learner's file is no Python, in a few words; "" if it is."""
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(progress.answer_file(course, exercise).read_bytes())
    except OSError as error:
        return error.strerror
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}" if error.lineno else error.msg
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error)
    return ""
