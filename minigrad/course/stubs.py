"""Stubs from solutions: what a learner is to write is cut out, all else stays as it is.

``minigrad stubs`` makes ``exercises/exNN_topic.py`` from ``solutions/exNN_topic.py``. In a
solution, two comment lines mark what is cut: ``### BEGIN SOLUTION`` and ``### END SOLUTION``.
"""

import ast
import io
import sys
import tokenize
from pathlib import Path

from minigrad.course import manifest
from minigrad.files import replacing

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


class MarkerError(Exception):
    """A marker that stands where it should not, or is missing; the message has its line."""


def stub(source, name):
    """The stub of a solution, as text.

    Args:
        source: the text of the solution.
        name: the exercise, for the NotImplementedError that takes the place of what is cut.

    Raises MarkerError, with the line, for a marker that is nested, unclosed, stray, misspelt or
    not alone on its line, and SyntaxError for a solution that is not Python.
    """
    lines = io.StringIO(source).readlines()
    owners = _owners(ast.parse(source))
    out, kept = [], 0
    for begin, end in regions(source, name):
        marker = lines[begin - 1]
        indent = marker[: len(marker) - len(marker.lstrip())]
        owner = owners(begin)
        if owner is None:
            raise MarkerError(f"{name}.py, line {begin}: {BEGIN} stands outside of any function")
        out += lines[kept : begin - 1]
        out.append(f'{indent}raise NotImplementedError("{name}: {owner}")\n')
        kept = end
    return "".join([*out, *lines[kept:]])


def regions(source, name):
    """(first line, last line) of every marked region, markers included, counted from 1."""
    found, begun = [], None
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or "SOLUTION" not in token.string.upper():
            continue
        line, text = token.start[0], token.string
        where = f"{name}.py, line {line}"
        if text not in (BEGIN, END):
            if text.lstrip("# ").upper().startswith(("BEGIN SOLUTION", "END SOLUTION")):
                raise MarkerError(f"{where}: {text!r} is no marker; write {BEGIN!r} or {END!r}")
            continue
        if token.line.strip() != text:
            raise MarkerError(f"{where}: {text} must stand alone on its line")
        if text == BEGIN and begun:
            raise MarkerError(f"{where}: {BEGIN} inside the region that begins at line {begun}")
        if text == END and not begun:
            raise MarkerError(f"{where}: {END} without {BEGIN}")
        if text == END:
            found.append((begun, line))
        begun = line if text == BEGIN else None
    if begun:
        raise MarkerError(f"{name}.py, line {begun}: {BEGIN} without {END}")
    return found


def _owners(tree):
    """A function from a line to the dotted name of the innermost function around it, or None."""
    spans = []

    def visit(node, prefix):
        for child in ast.iter_child_nodes(node):
            inner = prefix
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                inner = f"{prefix}{child.name}."
                if not isinstance(child, ast.ClassDef):
                    spans.append((child.lineno, child.end_lineno, inner[:-1]))
            visit(child, inner)

    visit(tree, "")

    def owner(line):
        around = [span for span in spans if span[0] < line <= span[1]]
        return max(around)[2] if around else None

    return owner


def written(course):
    """{path of a stub: its text} for every exercise whose solution is there."""
    texts = {}
    for exercise in course.exercises:
        path = course.solutions / f"{exercise.name}.py"
        if path.exists():
            text = stub(path.read_text(encoding="utf-8"), exercise.name)
            texts[course.folder / path.name] = text
    return texts


def add_arguments(parser):
    """The options of ``minigrad stubs``."""
    parser.add_argument("--course", type=Path, default=Path(), help="folder of the course")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if any differs")


def run(arguments):
    """Write the stubs that differ; the exit status is 1 where they may not be made or differ."""
    try:
        course = manifest.find(arguments.course)
        texts = written(course)
    except (manifest.CourseError, manifest.ManifestError, MarkerError, SyntaxError) as error:
        print(f"minigrad stubs: {error}", file=sys.stderr)
        return 2
    different = 0
    for path, text in texts.items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        different += 1
        print(path.relative_to(course.folder.parent))
        if not arguments.check:
            with replacing(path, "w", encoding="utf-8") as file:
                file.write(text)
    print(f"{len(texts)} stubs, {different} {'differ' if arguments.check else 'written'}")
    return 1 if arguments.check and different else 0
