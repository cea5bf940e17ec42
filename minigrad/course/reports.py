"""What the grader has found, for a screen, a spreadsheet, a program, and Gradescope.

Students choose their names, what they print and what their exceptions say. So every text is made
harmless for where it goes: no control characters on a screen, no formulas in a spreadsheet.
"""

import csv
import dataclasses
import json
import re
import sys
import unicodedata
from dataclasses import dataclass

import minigrad
from minigrad.course.plugin import described
from minigrad.files import replacing
from minigrad.sandbox import TIERS, verdicts

MAX_TEXT = 2_000
NAME_WIDTH = 32
UNSCORED = "?"
#: what a spreadsheet takes for the start of a formula, in either width
FORMULA_STARTS = tuple(
    "=+-@\t\r\n\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}"
    "\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}"
)
#: joiners that some scripts need, and that can do no harm
JOINERS = "\u200c\u200d"


@dataclass(frozen=True)
class Graded:
    """A submission with its verdicts.

    Attributes:
        student: the name that no other submission has.
        file: the name of what was handed in.
        judgements: a :class:`minigrad.course.judge.Judgement` for each exercise, in order.
        remarks: what the instructor should know about what was handed in.
    """

    student: str
    file: str
    judgements: tuple
    remarks: tuple = ()

    @property
    def score(self):
        """All points earned; None if an exercise could not be judged."""
        scores = [score(judgement) for judgement in self.judgements]
        return None if None in scores else sum(scores)


def score(judgement):
    """The points of a judgement, None if it has a fault."""
    return None if judgement.fault else judgement.score


def tidied(judgement, folder):
    """A judgement with texts that any report can hold: short, harmless, the same in every run.

    Args:
        judgement: as it comes from the judge.
        folder: where the answer lay; its name says nothing.
    """

    def tidy(text):
        text = text.replace(f"{folder}/", "").replace(str(folder), ".")
        # Addresses in memory differ from run to run.
        return cut(visible(re.sub(r"\bat 0x[0-9a-fA-F]+", "at 0x…", text[: 4 * MAX_TEXT])))

    results = tuple(
        dataclasses.replace(
            result,
            # One copy for a whole class.
            test=sys.intern(result.test),
            function=sys.intern(result.function),
            kind=sys.intern(result.kind),
            message=tidy(result.message),
            frames=tuple((tidy(f), line, tidy(n), tidy(t)) for f, line, n, t in result.frames),
        )
        for result in judgement.results
    )
    fault = judgement.fault and tidy(judgement.fault[-MAX_TEXT:])
    return dataclasses.replace(
        judgement, results=results, output=tidy(judgement.output), fault=fault
    )


def visible(text, keep="\n\t"):
    """A text in which whatever a terminal might obey is spelled out, such as ``\\x1b``."""

    def harmless(c):
        return c in keep or c in JOINERS or c.isprintable() or unicodedata.category(c) == "Zs"

    return "".join(c if harmless(c) else ascii(c)[1:-1] for c in text)


def cut(text):
    """A text of at most MAX_TEXT characters."""
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} …"


def message(result):
    """Why a test failed, with the lines of an exception."""
    if result.passed:
        return ""
    failure = verdicts.Failure(result.message)
    failure.kind, failure.frames = result.kind, result.frames
    return described(failure)


def table(exercises, graded):
    """The points of all students, as lines for a screen."""
    heads = [exercise.number for exercise in exercises]
    rows = [
        [visible(each.student, keep=""), *map(score, each.judgements), each.score]
        for each in graded
    ]
    totals = [exercise.total for exercise in exercises]
    rows = [["student", *heads, "total"], *rows, ["points", *totals, sum(totals)]]
    cells = [[UNSCORED if cell is None else str(cell) for cell in row] for row in rows]
    for row in cells:
        while _width(row[0]) > NAME_WIDTH:
            row[0] = row[0].removesuffix("…")[:-1] + "…"
    widths = [max(map(_width, column)) for column in zip(*cells)]
    lines = [
        "  ".join([name + " " * (widths[0] - _width(name)), *map(str.rjust, rest, widths[1:])])
        for name, *rest in cells
    ]
    rule = "─" * _width(lines[0])
    return [lines[0], rule, *lines[1:-1], rule, lines[-1]]


def remarks(exercises, graded):
    """What the instructor should look at, as lines for a screen: refusals and faults."""
    lines = []
    for each in graded:
        found = [*each.remarks]
        for exercise, judgement in zip(exercises, each.judgements):
            if judgement.fault:
                last = judgement.fault.strip().rpartition("\n")[2]
                found.append(f"exercise {exercise.number} is not scored: {last}")
        lines += [visible(f"{each.student}: {remark}", keep="") for remark in found]
    return lines


def _width(text):
    """The columns that a text takes on a terminal."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 or c in JOINERS for c in text)


def write_json(path, exercises, graded, tier):
    """Everything that is known, for programs."""
    head = {
        "minigrad": minigrad.__version__,
        "tier": tier,
        "walls": TIERS[tier],
        "exercises": [
            {"name": exercise.name, "title": exercise.title, "points": exercise.total}
            for exercise in exercises
        ],
    }
    # One after another: as a whole, a large class would take much memory.
    with _replacing(path) as file:
        file.write(json.dumps(head, indent=1).removesuffix("\n}") + ',\n "submissions": [')
        for i, each in enumerate(graded):
            text = json.dumps(_submission(exercises, each), indent=1)
            file.write(f"{',' if i else ''}\n  " + text.replace("\n", "\n  "))
        file.write("\n ]\n}\n")


def _submission(exercises, each):
    return {
        "student": each.student,
        "file": each.file,
        "score": each.score,
        "points": sum(exercise.total for exercise in exercises),
        "remarks": list(each.remarks),
        "exercises": list(map(_exercise, exercises, each.judgements)),
    }


def _exercise(exercise, judgement):
    tests = [
        {
            "name": result.test,
            "function": result.function,
            "points": result.points,
            "score": result.score,
            "kind": result.kind,
            "message": message(result),
        }
        for result in judgement.results
    ]
    return {
        "exercise": exercise.name,
        "score": score(judgement),
        "points": exercise.total,
        "fault": judgement.fault,
        "tests": tests,
        "output": judgement.output,
    }


def write_csv(path, exercises, graded):
    """One row a student, for spreadsheets; what was not scored is empty."""
    possible = sum(exercise.total for exercise in exercises)
    with _replacing(path) as file:
        rows = csv.writer(file)
        rows.writerow(["student", *(exercise.name for exercise in exercises), "total", "points"])
        for each in graded:
            rows.writerow([cell(each.student), *map(score, each.judgements), each.score, possible])


def cell(text):
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text.lstrip(" ").startswith(FORMULA_STARTS) else text


def gradescope(exercises, each):
    """The content of Gradescope's ``results.json`` for one submission; None if it has no score.

    https://gradescope-autograders.readthedocs.io/en/latest/specs/#output-format
    """
    if each.score is None:
        return None
    tests = []
    for exercise, judgement in zip(exercises, each.judgements):
        for result in judgement.results:
            words = result.test.removeprefix("test_").replace("_", " ")
            tests.append(
                {
                    "name": f"{exercise.number} {result.function}: {words}",
                    "score": result.score,
                    "max_score": result.points,
                    "status": "passed" if result.passed else "failed",
                    "output": message(result),
                    "visibility": "visible",
                }
            )
    possible = sum(exercise.total for exercise in exercises)
    lines = [f"{each.score} of {possible} points", *each.remarks]
    for exercise, judgement in zip(exercises, each.judgements):
        lines.append(f"{exercise.number} {exercise.title}: {judgement.score} of {exercise.total}")
    output = "\n".join(lines)
    return {"score": each.score, "output": output, "visibility": "visible", "tests": tests}


def write_gradescope(path, exercises, graded):
    """A ``results.json`` at a path for one submission, or in a folder a file for each.

    A submission that could not be judged gets no file, and an old one is removed: Gradescope
    then reports a failure of the grader, where half a file would be taken for a score.
    """
    paths = [path]
    if path.is_dir():
        paths = [path / f"{stem}.json" for stem in _file_names([g.student for g in graded])]
    for each, place in zip(graded, paths, strict=True):
        content = gradescope(exercises, each)
        if content is None:
            place.unlink(missing_ok=True)
        else:
            with _replacing(place) as file:
                file.write(json.dumps(content, indent=1) + "\n")


def _file_names(students):
    """Names for files, all different even where capitals do not count."""
    names, taken = [], set()
    for student in students:
        stem = re.sub(r"[^\w .()-]", "_", student).strip(" .")[:100] or "_"
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem} ({number})"
        taken.add(name.casefold())
        names.append(name)
    return names


def _replacing(path):
    return replacing(path, "w", encoding="utf-8", newline="")
