"""``minigrad solution``: how the course writes an exercise, for those who have written it."""

import sys

from minigrad.course import learner, stubs


def add_arguments(parser):
    """The options of ``minigrad solution``."""
    parser.add_argument("exercise", metavar="NN", help="the exercise, such as 05")
    parser.add_argument("--spoil", action="store_true", help="show it though yours does not pass")
    learner.add_course(parser)


def run(arguments):
    """Print the solution; the exit status is 1 where it is not to be seen, or not there."""
    return learner.attempt("solution", _show, arguments)


def _show(course, arguments):
    exercise = course.exercise(arguments.exercise)
    path = course.solutions / f"{exercise.name}.py"
    number = exercise.number
    if not path.is_file():
        print("minigrad solution: solutions are not part of this folder", file=sys.stderr)
        return 1
    if not arguments.spoil and not learner.standing(course, exercise)[0].passed:
        print(
            f"minigrad solution: {number} is not passed yet. `minigrad hint {number}` helps; "
            f"`minigrad solution {number} --spoil` shows it all the same.",
            file=sys.stderr,
        )
        return 1
    print(without_markers(path.read_text(encoding="utf-8"), exercise.name), end="")
    return 0


def without_markers(source, name):
    """A solution as one reads it: the lines that mark what a stub leaves out are gone."""
    marked = {line for region in stubs.regions(source, name) for line in region}
    lines = source.splitlines(keepends=True)
    return "".join(line for number, line in enumerate(lines, 1) if number not in marked)
