"""A course of two small exercises, written where a test wants it, for tests of the commands."""

from pathlib import Path

from minigrad.course import manifest, stubs

MANIFEST = """\
[ex01_doubling]
title = "Doubling"
notebook = "01_doubling.ipynb"
seconds = 2
may_import = ["numpy"]
may_not_call = ["numpy.cumsum"]

[ex01_doubling.functions.double]
task = "double every number"
points = { test_two_and_three_are_doubled = 2, test_an_array_is_doubled = 1 }
hints = ["What is x + x?", "Two times x.", "return 2 * x"]

[ex01_doubling.functions.total]
task = "add up all the numbers"
points = { test_the_total_of_three_numbers = 3 }
hints = ["Begin with nothing.", "Add each number to what there is.", "sum(x)"]

[ex02_shapes]
title = "Shapes"
notebook = "02_shapes.ipynb"
seconds = 2
may_import = ["numpy"]
may_not_call = []

[ex02_shapes.functions.rows]
task = "count the rows"
points = { test_the_rows_are_counted = 4 }
hints = ["Look at the shape.", "It is the first of two.", "x.shape[0]"]
"""

FILES = {
    "exercises/test_ex01_doubling.py": """\
import numpy as np

from minigrad.course.testing import expect


def test_two_and_three_are_doubled(answer):
    expect(answer.double(2), 4, mistakes={"it is squared and one is added": 5})
    expect(answer.double(3), 6)


def test_an_array_is_doubled(answer, rng):
    x = rng.integers(1, 9, size=(2, 3))
    expect(answer.double(x), x + x)


def test_the_total_of_three_numbers(answer):
    expect(answer.total(np.array([1.0, 2.0, 4.0])), 7.0)
""",
    "exercises/test_ex02_shapes.py": """\
import numpy as np

from minigrad.course.testing import expect


def test_the_rows_are_counted(answer):
    expect(answer.rows(np.ones((3, 2))), 3, mistakes={"these are the columns": 2})
""",
    "solutions/ex01_doubling.py": '''\
"""Exercise 01: doubling."""

import numpy as np


def double(x):
    """Return twice x."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION


def total(x):
    """Return the sum of the numbers in x."""
    ### BEGIN SOLUTION
    return float(sum(x))
    ### END SOLUTION
''',
    "solutions/ex02_shapes.py": '''\
"""Exercise 02: shapes."""


def rows(x):
    """Return the number of rows."""
    ### BEGIN SOLUTION
    return x.shape[0]
    ### END SOLUTION
''',
}


def write(folder):
    """Write the course, its exercises as stubs; returns the Course."""
    for place in ("exercises", "solutions"):
        Path(folder, place).mkdir()
    Path(folder, "exercises", manifest.FILE).write_text(MANIFEST)
    for name, text in FILES.items():
        Path(folder, name).write_text(text)
    course = manifest.load(Path(folder, "exercises"))
    for path, text in stubs.written(course).items():
        path.write_text(text)
    return course


def solve(course, number, more=""):
    """Put the solution in the place of an exercise's file, with more code behind it."""
    name = course.exercise(number).name
    solution = (course.solutions / f"{name}.py").read_text()
    (course.folder / f"{name}.py").write_text(solution + more)
