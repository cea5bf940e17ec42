"""Judges one answer to one exercise: trusted pytest here, the answer behind its walls.

`judge` runs the exercise's tests in this process; what fails, and how, is taken from the
exceptions of our own calls, never from anything that the answer prints or raises. As a script
(``python -m minigrad.course.judge``) it is one of several judges that the grader keeps busy: a job
as a line of JSON comes in, a judgement as a line of JSON goes out.
"""

import dataclasses
import json
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path

from minigrad import sandbox
from minigrad.course import answers, manifest

#: what a result's ``kind`` can be, beside the kinds of `minigrad.sandbox.verdicts`
PASSED, FAULT = "passed", "fault"
#: characters of a message, in which there may be what an answer returned
MAX_MESSAGE = 10_000


@dataclass(frozen=True)
class Result:
    """How one test went: ``kind`` is "passed" or the kind of failure, ``message`` says more.

    ``frames`` are (file, line, function, source text) where the answer raised an exception.
    """

    test: str
    function: str
    points: int
    kind: str
    message: str = ""
    frames: tuple = ()

    @property
    def passed(self):
        """Whether the test passed."""
        return self.kind == PASSED

    @property
    def score(self):
        """The points earned."""
        return self.points if self.passed else 0


@dataclass(frozen=True)
class Judgement:
    """How an answer to an exercise did: a result for every test that was run, in their order.

    ``output`` is what the answer printed. ``fault`` is None, or says why nothing was judged; then
    there are no results, and the answer has no score rather than none.
    """

    exercise: str
    results: tuple = ()
    output: str = ""
    fault: str | None = None

    @property
    def score(self):
        """The points earned."""
        return sum(result.score for result in self.results)

    @property
    def total(self):
        """The points there are."""
        return sum(result.points for result in self.results)

    @property
    def passed(self):
        """Whether every test passed."""
        return not self.fault and all(result.passed for result in self.results)

    @property
    def failure(self):
        """The first result that did not pass, or None."""
        return next((result for result in self.results if not result.passed), None)


def judge(course, exercise, folder, *, tier="open", limits=None, seed=0, hidden=(), only=None):
    """Run the tests of an exercise on the answer in a folder.

    Args:
        course: the :class:`minigrad.course.manifest.Course` whose tests and limits count.
        exercise: one of its exercises.
        folder: where ``exNN_topic.py`` is; it need not exist.
        tier: one of `minigrad.sandbox.TIERS`.
        limits: a :class:`minigrad.sandbox.Limits`; None takes the time limit of the manifest.
        seed: of the tests' random inputs.
        hidden: folders that the answer must not see.
        only: the functions whose tests are run; None for all.

    Returns a Judgement. Whatever goes wrong on this side of the wall is its ``fault``.
    """
    walls = dict(limits=limits or limits_of(exercise), tier=tier, hidden=hidden)
    walls |= dict(may_import=exercise.may_import, may_not_call=exercise.may_not_call)
    box = sandbox.Sandbox(folder, exercise.name, given=course.given, **walls)
    # Kernels run where nothing else of the answer ever does, so that nobody deceives their watcher.
    clean = sandbox.Sandbox(folder, exercise.name, **walls)
    from minigrad.course import plugin

    name_of = lambda test: getattr(exercise.function_of(test), "name", test)
    wanted = [test for test in exercise.points if only is None or name_of(test) in only]
    parameters = answers.parameters(course.folder / f"{exercise.name}.py")
    answer = answers.Answer(box.call, parameters, clean.launch, box.on_ranks)
    recorder = plugin.Recorder(answer, seed, name_of, exercise.points.keys() - wanted)
    try:
        with box, clean:
            status = plugin.run(course.test_file(exercise), recorder)
        fault = recorder.fault or _disagreement(status, wanted, recorder)
    except Exception:
        fault = traceback.format_exc()
    if fault:
        return Judgement(exercise.name, fault=fault)
    results = []
    for test in wanted:
        kind, message, frames = recorder.found[test]
        points = exercise.points[test]
        results.append(Result(test, name_of(test), points, kind, message[:MAX_MESSAGE], frames))
    return Judgement(exercise.name, tuple(results), box.output)


def limits_of(exercise, wall=None):
    """The limits of an exercise: its processor time, and ``wall`` seconds (3 times that).

    A function that never ends costs its own points; those after it have their time anew, once.
    """
    wall = wall or 3 * exercise.seconds
    return sandbox.Limits(seconds=exercise.seconds, wall=wall, renewals=1)


def _disagreement(status, wanted, recorder):
    """None if a run of pytest judged the wanted tests and no others, else what it did."""
    found, wanted = set(recorder.found), set(wanted)
    if found == wanted and status in (0, 1):
        return None
    words = f"pytest ended with status {int(status)}"
    if wanted - found:
        words += f", without running {', '.join(sorted(wanted - found))}"
    if found - wanted:
        words += f", and ran what the manifest does not have: {', '.join(sorted(found - wanted))}"
    return "\n".join([words, *recorder.errors])


def to_json(judgement):
    """A judgement as one line of JSON."""
    return json.dumps(dataclasses.asdict(judgement))


def from_json(line):
    """The judgement in a line of `to_json`."""
    fields = json.loads(line)
    results = tuple(
        Result(**{**entry, "frames": tuple(map(tuple, entry["frames"]))})
        for entry in fields.pop("results")
    )
    return Judgement(results=results, **fields)


def main():
    """Serve jobs, a line of JSON each, until the standard input ends."""
    # Whatever is printed here by mistake must not look like a judgement.
    replies, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        job = json.loads(line)
        course = manifest.load(job["course"])
        judgement = judge(
            course,
            course.exercise(job["exercise"]),
            Path(job["folder"]),
            tier=job["tier"],
            limits=sandbox.Limits(**job["limits"]),
            seed=job["seed"],
            hidden=job["hidden"],
            only=job["only"],
        )
        print(to_json(judgement), file=replies, flush=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
