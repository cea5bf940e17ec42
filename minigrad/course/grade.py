"""``minigrad grade``: judge what students handed in.

Every submission is laid out as plain files in a folder of its own, judged exercise by exercise
behind the walls of :mod:`minigrad.sandbox`, and removed. Tests, manifest and seed come from the
instructor's course; nothing that a submission holds, prints or raises makes a verdict.
"""

import argparse
import concurrent.futures
import contextlib
import importlib.util
import os
import queue
import secrets
import signal
import sys
import tempfile
import threading
from pathlib import Path

from minigrad.course import manifest

SEED_FILE = Path(".local", "grading_seed")
GRADED, USAGE, FAULTY = 0, 2, 3
TIERS = ("namespaces", "user", "process")


class UsageError(Exception):
    """The command cannot do what is asked; the message says why."""


def add_arguments(parser):
    """The options of ``minigrad grade``."""
    parser.description = (
        "Judge what students handed in, behind walls. Exit status: 0 all have a verdict; 2 wrong "
        "use; 3 an exercise could not be judged and is unscored."
    )
    parser.add_argument(
        "submissions",
        nargs="+",
        metavar="SUBMISSIONS",
        type=Path,
        help="a folder or zip or tar file with a student's exNN files, or a folder of such",
    )
    parser.add_argument("--exercises", nargs="+", default=[], metavar="NN", help="default: all")
    parser.add_argument("--json", type=Path, metavar="F", help="write all there is to say to F")
    parser.add_argument("--csv", type=Path, metavar="F", help="write a row of points a student")
    parser.add_argument(
        "--gradescope",
        type=Path,
        metavar="F",
        help="write Gradescope's results.json; F is a folder unless there is one submission",
    )
    parser.add_argument(
        "-j", type=_positive, default=_cores(), dest="workers", metavar="N", help="judges at work"
    )
    parser.add_argument(
        "--seed",
        type=_natural,
        metavar="N",
        help=f"of the tests' inputs; default: a secret one, kept in {SEED_FILE}",
    )
    parser.add_argument("--course", type=Path, default=Path(), help="folder of the course")
    parser.add_argument("--tier", choices=TIERS, help="kind of walls; default: the best there is")


def run(arguments):
    """Grade, print the points, write the reports; returns the exit status."""
    # The trusted arithmetic is small; threads would take the cores from the judges.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from minigrad.course import submissions

    wrong_use = (UsageError, manifest.CourseError, manifest.ManifestError, OSError)
    try:
        course = manifest.find(arguments.course)
        chosen = _chosen(course, arguments.exercises)
        names = [exercise.name for exercise in course.exercises]
        found = submissions.find(arguments.submissions, names)
        _check_targets(arguments, len(found))
        seed = hidden_seed(course) if arguments.seed is None else arguments.seed
    except (*wrong_use, submissions.SubmissionError) as error:
        print(f"minigrad grade: {error}", file=sys.stderr)
        return USAGE
    return _grade_and_report(course, chosen, found, seed, arguments)


def _grade_and_report(course, exercises, found, seed, arguments):
    from minigrad import sandbox
    from minigrad.course import reports

    tier = arguments.tier or sandbox.best_tier()
    with _progress(len(found) * len(exercises)) as step:
        graded = grade(
            course,
            exercises,
            found,
            tier=tier,
            seed=seed,
            workers=arguments.workers,
            hidden=arguments.submissions,
            step=step,
        )
    print("\n".join(reports.table(exercises, graded)))
    if remarks := reports.remarks(exercises, graded):
        print("\nWorth a look:", *remarks, sep="\n  ")
    print(f"\nwalls: {tier} ({sandbox.TIERS[tier]})")
    if tier != TIERS[0]:
        print("These walls stop accidents, not every attack: grade strangers on Linux, as root or")
        print("where user namespaces are allowed.")
    complete = all(each.score is not None for each in graded)
    for path, write, more in (
        (arguments.json, reports.write_json, [tier]),
        (arguments.csv, reports.write_csv, []),
        (arguments.gradescope, reports.write_gradescope, []),
    ):
        try:
            if path:
                write(path, exercises, graded, *more)
        except OSError as error:
            print(f"minigrad grade: {path} could not be written: {error}", file=sys.stderr)
            complete = False
    return GRADED if complete else FAULTY


def grade(
    course, exercises, found, *, tier, seed, workers=1, hidden=(), step=lambda: None, slowness=None
):
    """Judge exercises of submissions; returns a list of `reports.Graded` in the same order.

    Args:
        course: the :class:`minigrad.course.manifest.Course` whose tests count.
        exercises: those of its exercises to judge.
        found: a list of :class:`minigrad.course.submissions.Submission`.
        tier: one of `minigrad.sandbox.TIERS`.
        seed: of the tests' random inputs.
        workers: how many judges work at once, each at one submission at a time.
        hidden: folders that answers must not see, beside the course and the submissions.
        step: called after every exercise.
        slowness: factor on wall-clock limits; None takes the judges that share a core.
    """
    from minigrad.course import pool

    workers = min(workers, len(found))
    slowness = slowness or max(1.0, workers / _cores())
    with contextlib.ExitStack() as stack:
        staging = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minigrad-")))
        # Answers may be judged under another user, who must not learn the names of what is here.
        staging.chmod(0o711)
        covered = [course_root(course), staging, *hidden, *(each.path for each in found)]
        covered = sorted({str(Path(folder).resolve()) for folder in covered})
        judges = [
            stack.enter_context(
                pool.Judge(course, tier=tier, seed=seed, hidden=covered, slowness=slowness)
            )
            for _ in range(workers)
        ]
        return _all_graded(judges, exercises, found, staging, step)


def _all_graded(judges, exercises, found, staging, step):
    """All submissions with their verdicts, each judged by whichever judge is idle."""
    stop, idle = threading.Event(), queue.SimpleQueue()
    for judge in judges:
        idle.put(judge)

    def one(submission):
        judge = idle.get()
        try:
            return _graded(judge, exercises, submission, staging, step, stop)
        finally:
            idle.put(judge)

    with concurrent.futures.ThreadPoolExecutor(len(judges)) as threads:
        try:
            return list(threads.map(one, found))
        except BaseException:
            stop.set()
            threads.shutdown(wait=False, cancel_futures=True)
            for judge in judges:
                _interrupt(judge)
            raise


def _graded(judge, exercises, submission, staging, step, stop):
    """One submission with its verdicts."""
    from minigrad.course import reports, submissions

    names = [exercise.name for exercise in judge.course.exercises]
    judgements, refused = [], {}
    try:
        with submissions.laid_out(submission, names, staging) as laid_out:
            refused = laid_out.refused
            for exercise in exercises:
                if stop.is_set():
                    break
                if exercise.name in refused:
                    judgement = refusal(exercise, refused[exercise.name])
                else:
                    judgement = judge.judge(exercise, laid_out.folder)
                judgements.append(reports.tidied(judgement, laid_out.folder))
                step()
    except Exception as error:  # whatever it is, the other students are to be graded
        judgements += [fault(exercise, error) for exercise in exercises[len(judgements) :]]
    reasons = dict.fromkeys(refused[e.name] for e in exercises if e.name in refused)
    remarks = tuple(reports.visible(why) for why in reasons if not why.endswith("is not there"))
    file = reports.visible(submission.path.name, keep="")
    return reports.Graded(submission.student, file, tuple(judgements), remarks)


def refusal(exercise, reason):
    """The Judgement on an answer that is not even shown to a sandbox: no points, for a reason."""
    from minigrad.course import judge
    from minigrad.sandbox import verdicts

    kind = verdicts.Unreadable.kind
    results = tuple(
        judge.Result(test, exercise.function_of(test).name, points, kind, reason)
        for test, points in exercise.points.items()
    )
    return judge.Judgement(exercise.name, results)


def fault(exercise, error):
    """The Judgement on an answer that this machine could not lay out."""
    from minigrad.course import judge

    words = f"the submission cannot be laid out: {type(error).__name__}: {error}"
    return judge.Judgement(exercise.name, fault=words)


def _interrupt(judge):
    """Let a judge end what it does; it cleans up after itself, as after Ctrl-C."""
    process = judge.process
    if process is not None:
        with contextlib.suppress(OSError):
            process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)


def course_root(course):
    """The folder that holds all of a course: the one around ``exercises``."""
    return course.folder.parent if course.folder.name == "exercises" else course.folder


def hidden_seed(course):
    """The seed of a course's graded inputs: random, made when first asked for, then kept.

    Raises UsageError if its file holds something else, or cannot be made.
    """
    path = course_root(course) / SEED_FILE
    try:
        path.parent.mkdir(exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{secrets.randbits(63)}\n")
    except FileExistsError:
        pass
    except OSError as error:
        raise UsageError(f"no seed can be kept in {path} ({error.strerror}); give --seed") from None
    text = path.read_text(encoding="ascii", errors="replace").strip()
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"{path} should hold a whole number; remove it and grade everybody again")
    return int(text)


def _chosen(course, words):
    """The exercises that the instructor names, in the manifest's order; all if none."""
    wanted = {course.exercise(word).name for word in words}
    return [each for each in course.exercises if not wanted or each.name in wanted]


def _check_targets(arguments, count):
    """Find out now, not after an hour of grading, that a report cannot be written."""
    if arguments.gradescope and count > 1:
        if arguments.gradescope.exists() and not arguments.gradescope.is_dir():
            raise UsageError(
                f"--gradescope {arguments.gradescope} is a file; with {count} submissions it must "
                "be a folder"
            )
        arguments.gradescope.mkdir(exist_ok=True)
    for path in filter(None, (arguments.json, arguments.csv, arguments.gradescope)):
        folder = path if path.is_dir() else path.parent
        if not os.access(folder, os.W_OK):
            raise UsageError(f"{path} cannot be written: there is no folder {folder} to write in")
        if path.is_dir() and path != arguments.gradescope:
            raise UsageError(f"{path} is a folder; name a file")


@contextlib.contextmanager
def _progress(total):
    """A function to call after each exercise; a bar where a person watches."""
    if not sys.stderr.isatty() or importlib.util.find_spec("tqdm") is None:
        yield lambda: None
        return
    from tqdm import tqdm

    with tqdm(total=total, unit="exercise", leave=False, delay=2, dynamic_ncols=True) as bar:
        yield lambda: bar.update()


def _cores():
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _positive(text):
    value = _natural(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _natural(text):
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"a whole number is needed, not {text!r}")
    return int(text)
