"""What the learner's commands show: text made from a course, its state and a judgement.

Every screen is a function to a string of lines, none longer than ``width``. Colours come from an
`Ink`, which leaves the text as it is where they are not wanted.
"""

import os
import sys
import textwrap

from minigrad.course import progress, writing

STYLES = {"good": "32", "bad": "31", "note": "33", "place": "36", "strong": "1", "dim": "2"}
BAR, SHORT_BAR = 20, 12
NARROWEST = 60


class Ink:
    """Colours a text, or leaves it as it is."""

    def __init__(self, colour=False):
        self.colour = colour

    def __call__(self, style, text):
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if self.colour and text else text


PLAIN = Ink()


def live(stream=None):
    """Whether a stream (the output, unless given) is a terminal where lines can be coloured and
    written over."""
    able = os.environ.get("TERM") != "dumb" and (os.name != "nt" or "WT_SESSION" in os.environ)
    return able and (stream or sys.stdout).isatty()


def ink(stream=None):
    """The Ink for a stream: colours on a terminal that has them, unless NO_COLOR is set."""
    return Ink(live(stream) and not os.environ.get("NO_COLOR"))


def columns():
    """The width of a screen."""
    return max(writing.screen_width(), NARROWEST)


def bar(done, total, paint=PLAIN, width=BAR):
    """A bar that is full only when all is done, and empty only when nothing is."""
    filled = width * done // total if total else width
    filled = max(filled, 1) if done else 0
    return paint("good", "━" * filled) + paint("dim", "·" * (width - filled))


def heading(exercise, score, width, paint):
    """The first line: number and title, points at the right."""
    points = f"{score:>3} of {exercise.total} points"
    room = width - BAR - len(points) - 9
    title = shortened(exercise.title, room)
    return (
        f" {paint('strong', f'{exercise.number}  {title}')}{' ' * (room - len(title))}  "
        f"{bar(score, exercise.total, paint)} {points}"
    )


def course_line(course, state, paint=PLAIN):
    """How far all of the course has come."""
    passed, points = state.count(course)
    count, total = len(course.exercises), sum(exercise.total for exercise in course.exercises)
    words = f"{passed} of {count} exercises, {points} of {total} points"
    return f" {bar(points, total, paint)}  {words}"


def overview(course, exercise, record, width=80, paint=PLAIN, brief=False):
    """What to read and what to write; functions that are right have a tick.

    ``brief`` cuts what a function is to do to one line.
    """
    notebook = course.folder.parent / "notebooks" / exercise.notebook
    read = shown_path(notebook) if notebook.exists() else f"notebook {exercise.notebook}"
    lines = [
        heading(exercise, record.score, width, paint),
        "",
        f" read   {paint('place', read)}",
        f" write  {paint('place', shown_path(progress.answer_file(course, exercise)))}",
        "",
    ]
    names = max(len(function.name) for function in exercise.functions)
    for function in exercise.functions:
        tick, points = mark(function.name in record.right, paint), f"{function.total:>3}"
        room = width - names - 12
        first, *rest = textwrap.wrap(function.task, room)
        if brief:
            first, rest = shortened(function.task, room), []
        lines.append(f"   {tick} {function.name:<{names}} {paint('dim', points)}  {first}")
        lines += [" " * (names + 11) + line for line in rest]
    if record.status == progress.BROKEN:
        words = f" It passed once and is broken now: minigrad check {exercise.number} says where."
        lines += ["", paint("note", words)]
    return "\n".join(lines)


def mark(right, paint):
    """A tick, or a dot for what is still to do."""
    return paint("good", "✓") if right else paint("dim", "·")


def listing(course, records, width=80, paint=PLAIN, here=None):
    """All exercises, a line each, then the sum.

    Args:
        course: the course.
        records: theirs, in order.
        width, paint: columns, and an `Ink`.
        here: the exercise that is being watched; None points to the next one.
    """
    pairs = list(zip(course.exercises, records))
    following = here or next((exercise for exercise, record in pairs if not record.passed), None)
    word = "here" if here else "next"
    lines = [row(e, record, width, paint, word if e is following else "") for e, record in pairs]
    state = progress.State({exercise.name: record for exercise, record in pairs})
    return "\n".join([*lines, "", course_line(course, state, paint)])


def row(exercise, record, width=80, paint=PLAIN, words=""):
    """A line of the list: number, title, points, and words behind it where all is well."""
    tick, words = mark(record.passed, paint), paint("note", words)
    if record.status == progress.BROKEN:
        tick, words = paint("bad", "✗"), paint("bad", "broken")
    elif record.status == progress.UNKNOWN:
        tick, words = paint("note", "?"), paint("note", "cannot be checked")
    points = f"{record.score:>4}/{exercise.total:<4}"
    room = width - SHORT_BAR - 26
    title = shortened(exercise.title, room)
    filled = bar(record.score, exercise.total, paint, SHORT_BAR)
    return f" {tick} {exercise.number}  {title:<{room}}  {filled}{points} {words}".rstrip()


def passed(course, state, exercise, width=80, paint=PLAIN):
    """That an exercise is passed, and what comes next as far as the state knows."""
    count = len(exercise.functions)
    words = f"✓ {exercise.number} is passed: {count} functions, {exercise.total} points."
    lines = [
        heading(exercise, exercise.total, width, paint),
        "",
        paint("good", f" {words}"),
    ]
    if (course.solutions / f"{exercise.name}.py").exists():
        lines.append(f" How the course writes it: minigrad solution {exercise.number}")
    lines += ["", course_line(course, state, paint)]
    at = course.exercises.index(exercise) + 1
    later = course.exercises[at:] + course.exercises[:at]
    following = next((e for e in later if not state.of(e).passed), None)
    if following:
        lines.append(f" Next: {following.number}  {following.title} (minigrad next)")
    return "\n".join([*lines, *([] if following else ["", finale(course, paint)])])


def finale(course, paint=PLAIN):
    """That nothing is left to do."""
    total = sum(exercise.total for exercise in course.exercises)
    words = f" Every exercise is passed: {len(course.exercises)} of them, {total} points."
    return paint("good", words)


def task_lines(function, width=80, paint=PLAIN):
    """A function's name and what it is to do."""
    lines = textwrap.wrap(f" {function.name}: {function.task}", width - 1, subsequent_indent=" ")
    return [lines[0].replace(function.name, paint("strong", function.name), 1), *lines[1:]]


def clean(text):
    """A text without what would move the cursor or change the terminal."""
    text = text.expandtabs(4).replace("\r\n", "\n")
    return "".join(c if c == "\n" or (c.isprintable()) else "�" for c in text)


def folded(line, width, most=8):
    """A long line as several, set in like the first."""
    if len(line) < width:
        return [line.rstrip()]
    indent = " " * (len(line) - len(line.lstrip()))
    lines = textwrap.wrap(line, width - 1, subsequent_indent=indent, break_on_hyphens=False)
    return lines if len(lines) <= most else [*lines[:most], f"{indent}…"]


def shortened(text, room):
    """A text cut to some columns."""
    return text if len(text) <= room else text[: max(room - 1, 0)] + "…"


def shown_path(path):
    """A path as short as it can be from here."""
    try:
        near = os.path.relpath(path)
    except ValueError:
        return str(path)
    return near if len(near) < len(str(path)) else str(path)
