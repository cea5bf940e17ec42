"""``minigrad list``: all exercises, with what is done and what is broken."""

from minigrad.course import learner, screens


def add_arguments(parser):
    """The options of ``minigrad list``."""
    learner.add_course(parser)


def run(arguments):
    """Show the exercises; those whose file has changed are checked. Returns the exit status."""
    return learner.attempt("list", _show, arguments)


def _show(course, _):
    records = [learner.standing(course, exercise)[0] for exercise in course.exercises]
    print(screens.listing(course, records, screens.columns(), screens.ink()))
    return 0
