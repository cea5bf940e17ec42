"""``minigrad next``: the first exercise not yet passed, and what to write there."""

from minigrad.course import learner, progress, screens


def add_arguments(parser):
    """The options of ``minigrad next``."""
    learner.add_course(parser)


def run(arguments):
    """Show the exercise; returns the exit status."""
    return learner.attempt("next", _show, arguments)


def _show(course, _):
    paint = screens.ink()
    found = learner.next_open(course)
    state = progress.load(course)
    if found is None:
        print(screens.finale(course, paint))
        return 0
    exercise, _ = found
    print(screens.overview(course, exercise, state.of(exercise), screens.columns(), paint))
    print(f"\n minigrad watch {exercise.number}   checks it whenever you save")
    print(f" minigrad hint {exercise.number}    a hint, when you are stuck")
    return 0
