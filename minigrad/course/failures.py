"""How a check that did not pass is shown: the first thing that is wrong, in words."""

import ast
import re
import warnings

from minigrad.course import progress, screens

#: what each kind of failure is called, and what may help where its message does not say
WORDS = {
    "wrong": ("A wrong answer", ""),
    "race": ("A race", ""),
    "too costly": ("Right, but too costly", ""),
    "not as asked": ("Right values, but not as asked", ""),
    "unwritten": ("Not written yet", "Put your code in the place of raise NotImplementedError."),
    "raised": ("A crash", ""),
    "died": ("The process ended", ""),
    "timed out": ("It takes too long", "Is there a loop that never ends?"),
    "not allowed": ("Not allowed in this exercise", ""),
    "no kernel language": ("Not in the kernel language", ""),
    "unreadable": ("The file cannot be read", ""),
    "missing": ("The function is missing", "Its name and arguments must stay as they were."),
    "not plain": (
        "An answer of a strange type",
        "Return numbers, strings, NumPy arrays, or tuples, lists and dicts of them.",
    ),
    "changed its input": ("It changes what it was given", "Work on a copy, or build a new array."),
}


def failure(course, state, judgement, width=80, height=None, paint=screens.PLAIN):
    """The first thing that is wrong with an answer, and nothing else.

    Args:
        course: the course.
        state: its :class:`minigrad.course.progress.State`.
        judgement: the Judgement, one that did not pass.
        width, height: columns, and lines that there is room for; None for any number.
        paint: a :class:`minigrad.course.screens.Ink`.
    """
    exercise = course.exercise(judgement.exercise)
    if judgement.fault:
        return fault(exercise, judgement, width, paint)
    result = judgement.failure
    title, advice = WORDS.get(result.kind, (result.kind.capitalize(), ""))
    path, line = progress.answer_file(course, exercise), line_of(course, exercise, result)
    if not path.exists():
        title = "There is no file"
        advice = f"minigrad reset {exercise.number} writes the stub again."
    place = screens.shown_path(path) + (f":{line}" if line else "")
    top = [
        *standing_lines(exercise, state.of(exercise), judgement, width, paint),
        "",
        *subject_lines(exercise, judgement, width, paint),
        *beside(title, place, width, paint),
    ]
    parts = message_parts(exercise, result, width) if result.kind != "unwritten" else []
    parts.append(printed(judgement.output, width))
    parts.append(screens.folded(f" {advice}", width) if advice else [])
    room = height and max(height - len(top), 0)
    lines = fitted([part for part in parts if part], room, exercise.number)
    mistake = " Likely mistake:"
    lines = [paint("note", line) if line.startswith(mistake) else line for line in lines]
    return "\n".join([*top, *lines])


def standing_lines(exercise, record, judgement, width, paint):
    """How much of an exercise is right, and whether it has been better."""
    done, count = len(progress.right(exercise, judgement)), len(exercise.functions)
    words = paint("dim", f"     {done} of {count} functions are right")
    if record.status == progress.BROKEN:
        words += paint("note", "; it passed once and is broken now")
    return [screens.heading(exercise, judgement.score, width, paint), words]


def subject_lines(exercise, judgement, width, paint):
    """The function that a failure is about, if it is about one."""
    if concerns_the_file(judgement):
        return [" No function could be tried."]
    return screens.task_lines(exercise.function_of(judgement.failure.test), width, paint)


def beside(title, place, width, paint):
    """A title and a place, on one line if there is room."""
    first, second = f" {paint('bad', title)}", paint("place", place)
    wide = len(title) + len(place) + 3 >= width
    return [first, f" {second}"] if wide else [f"{first}  {second}"]


def concerns_the_file(judgement):
    """Whether what is wrong keeps all functions from being called."""
    first = judgement.results[0]
    same = all((r.kind, r.message) == (first.kind, first.message) for r in judgement.results)
    at_import = bool(first.frames) and first.frames[0][2] == "<module>"
    return first.kind == "unreadable" or at_import or (same and first.kind == "not allowed")


def fault(exercise, judgement, width, paint):
    """That the check itself went wrong."""
    lines = [f"   {line}" for line in screens.clean(judgement.fault).splitlines()[-12:]]
    title = paint("bad", " The check itself went wrong; that is not your code's fault.")
    pieces = [piece for line in lines for piece in screens.folded(line, width)]
    return "\n".join([screens.heading(exercise, 0, width, paint), "", title, "", *pieces])


def message_parts(exercise, result, width):
    """The paragraphs of a failure's message, each a list of lines; then where it crashed."""
    mistake = "Likely mistake: "
    parts = []
    message = screens.clean(result.message).removeprefix(f"{exercise.name}.py, ")
    for paragraph in message.split("\n\n"):
        indent = " " if paragraph.startswith(mistake) else "   "
        lines = paragraph.splitlines()
        parts.append([piece for line in lines for piece in screens.folded(indent + line, width)])
    if result.frames:
        parts.append(frame_lines(exercise, result.frames, width))
    return parts


def frame_lines(exercise, frames, width):
    """The learner's own lines that led to an exception: number, source, function."""
    rows, repeats = [], 0
    for file, line, name, text in frames:
        where = "" if file == f"{exercise.name}.py" else f"{screens.clean(file)}, "
        row = (f"{line:>6}  ", screens.clean(text), f"  in {where}{screens.clean(name)}")
        if rows and rows[-1] == row:
            repeats += 1
        else:
            rows.append(row)
    longest = min(max(len(text) for _, text, _ in rows), width - 40)
    lines = [
        screens.shortened(
            f"{number}{screens.shortened(text, longest):<{longest}}{where}", width - 1
        )
        for number, text, where in rows[-5:]
    ]
    if repeats:
        lines.append(f"        … {repeats} more time{'s' * (repeats > 1)}, and so on")
    return lines


def printed(output, width, most=5):
    """The first lines of what the learner's code printed."""
    lines = screens.clean(output).rstrip().splitlines()
    if not lines:
        return []
    shown = [screens.shortened(f"   │ {line}", width - 1) for line in lines[:most]]
    more = [f"   │ … {len(lines) - most} lines more"] if len(lines) > most else []
    return [" Printed in the tests:", *shown, *more]


def fitted(parts, room, number):
    """Paragraphs with an empty line before each, shortened until they fit into some lines.

    A call loses its arguments first; then the longest lose lines from before their last one,
    which says what is wrong.
    """
    parts = [list(part) for part in parts]
    cut = f"   … minigrad check {number} shows all of it"

    def too_long():
        return room is not None and sum(len(part) + 1 for part in parts) > room

    if too_long() and parts[0][0].endswith("(") and parts[0][-1].strip() == ")":
        parts[0] = [f"{parts[0][0]}…)"]
    while too_long() and len(longest := max(parts, key=len)) > 3:
        if longest[-2] == cut:
            del longest[-3]
        else:
            longest[-3:-1] = [cut]
    return [line for part in parts for line in ("", *part)][:room]


def line_of(course, exercise, result):
    """The line that a failure is about: where it crashed, else where the function begins."""
    own = [line for file, line, *_ in result.frames if file == f"{exercise.name}.py"]
    if own:
        return own[-1]
    if named := re.match(rf"{exercise.name}\.py, line (\d+)\b", result.message):
        return int(named[1])
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(progress.answer_file(course, exercise).read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    unwritten = result.kind == "unwritten"
    name = result.message.partition(" ")[0] if unwritten else result.function
    found = [node for node in tree.body if getattr(node, "name", None) == name]
    if unwritten and found:  # what is to be replaced, below what may already be there
        found += [node for node in ast.walk(found[-1]) if isinstance(node, ast.Raise)]
    return found[-1].lineno if found else None
