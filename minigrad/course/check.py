"""``minigrad check``: checks exercises and shows the first thing that is wrong."""

from minigrad.course import failures, learner, progress, screens


def add_arguments(parser):
    """The options of ``minigrad check``."""
    parser.add_argument(
        "exercises", nargs="*", metavar="NN", help="exercises, such as 05 (default: the next one)"
    )
    learner.add_course(parser)


def run(arguments):
    """Check; the exit status is 0 if all passed, 1 if one did not, 2 for a wrong command line.

    It is 3 when something could not be checked at all.
    """
    return learner.attempt("check", _check, arguments)


def _check(course, arguments):
    if arguments.exercises:
        chosen = {exercise.name: exercise for exercise in map(course.exercise, arguments.exercises)}
        judgements = [learner.check(course, exercise) for exercise in chosen.values()]
    else:
        found = learner.next_open(course)
        if found is None:
            print(screens.finale(course, screens.ink()))
            return 0
        exercise, judgement = found
        judgements = [judgement or learner.check(course, exercise)]
    print(_shown(course, judgements))
    if any(judgement.fault for judgement in judgements):
        return 3
    return 0 if all(judgement.passed for judgement in judgements) else 1


def _shown(course, judgements):
    """One exercise in full; of several a line each, then the first that did not pass in full."""
    width, paint, state = screens.columns(), screens.ink(), progress.load(course)
    lines = []
    if len(judgements) > 1:
        for judgement in judgements:
            exercise = course.exercise(judgement.exercise)
            lines.append(screens.row(exercise, state.of(exercise), width, paint))
        lines.append("")
    failed = next((judgement for judgement in judgements if not judgement.passed), None)
    if failed:
        number = course.exercise(failed.exercise).number
        lines.append(failures.failure(course, state, failed, width, paint=paint))
        lines.append("")
        if not failed.fault:
            lines.append(
                f" Stuck? minigrad hint {number}     On every save: minigrad watch {number}"
            )
        lines += [screens.course_line(course, state, paint)]
    elif len(judgements) == 1:
        exercise = course.exercise(judgements[0].exercise)
        lines.append(screens.passed(course, state, exercise, width, paint))
    else:
        lines.append(screens.course_line(course, state, paint))
    return "\n".join(lines)
