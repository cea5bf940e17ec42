"""What a learner has done so far: one small text file beside the exercises.

A line holds what the last check of an exercise found and how many hints were read. The file may
be deleted or damaged at any time: what cannot be understood is left out, with a word about it.
"""

import contextlib
import dataclasses
import hashlib
import re
from dataclasses import dataclass, field

from minigrad.files import replacing

FILE = ".progress"
HEAD = "# What the last checks found. This file may be deleted: everything is then checked anew.\n"
MAX_BYTES = 1 << 20

UNTOUCHED, TRIED, PASSED, BROKEN = "untouched", "tried", "passed", "broken"
#: of an exercise that could not be checked; never written down
UNKNOWN = "unknown"

LINE = re.compile(
    r"(?P<name>ex\d\d_\w+) +(?P<status>untouched|tried|passed|broken) +"
    r"(?P<score>\d{1,6})/(?P<total>\d{1,6}) +(?P<digest>[0-9a-f]{12}|-)"
    r"( +right=(?P<right>\w+(,\w+)*))?( +hints=(?P<hints>\w+:\d{1,3}(,\w+:\d{1,3})*))?"
)


@dataclass(frozen=True)
class Record:
    """What is known of an exercise.

    ``digest`` belongs to the file that was checked; "broken" is what passed once and does not
    now; ``right`` holds the names of the functions that were right, ``hints`` the number of hints
    read for each function.
    """

    status: str = UNTOUCHED
    score: int = 0
    total: int = 0
    digest: str = "-"
    right: tuple = ()
    hints: dict = field(default_factory=dict)

    @property
    def passed(self):
        """Whether the exercise passed when it was last checked."""
        return self.status == PASSED


@dataclass(frozen=True)
class State:
    """The records of all exercises, and what was wrong with the file, "" if nothing was."""

    records: dict
    complaint: str = ""

    def of(self, exercise):
        """The record of an exercise, an empty one if there is none."""
        return self.records.get(exercise.name) or Record(total=exercise.total)

    def count(self, course):
        """(exercises passed, points) of all the course."""
        records = [self.of(exercise) for exercise in course.exercises]
        return sum(r.passed for r in records), sum(r.score for r in records)


def load(course):
    """The State that the file holds, as far as it can be understood."""
    path = course.folder / FILE
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES).decode("utf-8")
    except FileNotFoundError:
        return State({})
    except (OSError, UnicodeDecodeError):
        return State({}, f"{path.name} cannot be read as text: progress starts afresh.")
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    records = dict(filter(None, map(_read, lines)))
    if len(records) == len(lines):
        return State(records)
    kept = f"{len(records)} of its exercises are kept" if records else "progress starts afresh"
    return State(records, f"{path.name} holds lines that make no sense: {kept}.")


def _read(line):
    """(name, Record) of a line of the file, None if it makes no sense."""
    found = LINE.fullmatch(line)
    if not found:
        return None
    score, total = int(found["score"]), int(found["total"])
    if score > total or (found["status"] == PASSED and score < total):
        return None
    right = tuple((found["right"] or "").split(",")) if found["right"] else ()
    pairs = [pair.split(":") for pair in (found["hints"] or "").split(",") if pair]
    hints = {function: int(count) for function, count in pairs}
    return found["name"], Record(found["status"], score, total, found["digest"], right, hints)


def _line(name, record):
    """A record as a line of the file."""
    parts = [name, record.status, f"{record.score}/{record.total}", record.digest]
    if record.right:
        parts.append("right=" + ",".join(record.right))
    if record.hints:
        parts.append("hints=" + ",".join(f"{f}:{count}" for f, count in record.hints.items()))
    return " ".join(parts) + "\n"


def keep(course, exercise, **changes):
    """Write down changes to the record of an exercise; returns the State they make.

    The file is read again first, since another command may have written to it. Where it cannot
    be written, the State is returned all the same.
    """
    state = load(course)
    records = {**state.records}
    records[exercise.name] = dataclasses.replace(state.of(exercise), **changes)
    text = HEAD + "".join(_line(name, records[name]) for name in sorted(records))
    with (
        contextlib.suppress(OSError),
        replacing(course.folder / FILE, "w", encoding="utf-8") as file,
    ):
        file.write(text)
    return State(records)


def note(course, exercise, judgement, digest):
    """Write down what a check of the file with some digest found; returns the State."""
    before = load(course).of(exercise).status
    fallen = BROKEN if before in (PASSED, BROKEN) else TRIED
    status = PASSED if judgement.passed else fallen
    return keep(
        course,
        exercise,
        status=status,
        score=judgement.score,
        total=judgement.total,
        digest=digest,
        right=right(exercise, judgement),
    )


def right(exercise, judgement):
    """The names of the functions all of whose tests passed, in order."""
    wrong = {result.function for result in judgement.results if not result.passed}
    return tuple(f.name for f in exercise.functions if f.name not in wrong)


def digest(course, exercise):
    """Twelve digits that change whenever the learner's file, its tests or their points do."""
    found = hashlib.sha256(repr(exercise.points).encode())
    for path in (answer_file(course, exercise), course.test_file(exercise)):
        content = b"-"
        with contextlib.suppress(OSError):
            content = path.read_bytes()
        found.update(b"%d " % len(content) + content)
    return found.hexdigest()[:12]


def answer_file(course, exercise):
    """The file that the learner writes."""
    return course.folder / f"{exercise.name}.py"
