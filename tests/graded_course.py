"""A course of two small exercises, a second or less each, for the tests of the grader."""

from minigrad.course import manifest

MANIFEST = """
[ex01_sums]
title = "Sums"
notebook = "01_sums.ipynb"
seconds = 0.5
may_import = ["numpy"]
may_not_call = ["numpy.einsum"]

[ex01_sums.functions.double]
task = "give twice the array"
points = { test_a_double_by_hand = 2, test_doubles_of_large_arrays = 3 }
hints = ["one", "two", "three"]

[ex01_sums.functions.total]
task = "add up a list"
points.test_a_total = 4
hints = ["one", "two", "three"]

[ex02_shifts]
title = "Shifts, \\"moved\\""
notebook = "02_shifts.ipynb"
seconds = 1
may_import = ["numpy"]
may_not_call = []

[ex02_shifts.functions.shift]
task = "add what the function adds"
points = { test_a_shift = 5, test_a_shift_in_single_precision = 1 }
hints = ["one", "two", "\\u00fcmlaut\\u007f"]
"""
GIVEN = '''"""Functions given by name."""


def adder(n):
    return lambda x: x + n
'''
TESTS = {
    "ex01_sums": '''
"""Tests of sums."""
import numpy as np
from minigrad.course.testing import expect


def test_a_double_by_hand(answer):
    x = np.array([[1.0, 2.0, 4.0]])
    expect(answer.double(x), 2 * x, mistakes={"the input is returned": x})


def test_doubles_of_large_arrays(answer, rng):
    x = rng.normal(size=(3, 40_000))
    expect(answer.double(x), 2 * x)


def test_a_total(answer, rng):
    expect(answer.total([1.0, 2.0, 4.5]), 7.5)
    values = rng.normal(size=5).tolist()
    expect(answer.total(values), sum(values))
''',
    "ex02_shifts": '''
"""Tests of shifts."""
import numpy as np
from minigrad.course.testing import expect, given


def test_a_shift(answer, rng):
    x = rng.normal(size=3)
    expect(answer.shift(given("adder", 2.5), x), x + 2.5)


def test_a_shift_in_single_precision(answer, rng):
    x = rng.normal(size=3).astype("float32")
    expect(answer.shift(given("adder", 1.0), x), x + np.float32(1), dtype="float")
''',
}
SOLUTIONS = {
    "ex01_sums": '''"""Sums."""

import numpy as np


def double(x):
    """Return twice x."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION


def total(values):
    """Return the sum of a list."""
    ### BEGIN SOLUTION
    return float(sum(values))
    ### END SOLUTION
''',
    "ex02_shifts": '''"""Shifts."""


def shift(f, x):
    """Return f(x)."""
    ### BEGIN SOLUTION
    return f(x)
    ### END SOLUTION
''',
}


def make(root):
    """Write the course under a folder, as a repository has it, and load it."""
    fill(
        root,
        {
            "exercises/course.toml": MANIFEST,
            "exercises/_given.py": GIVEN,
            "exercises/conftest.py": "from minigrad.course.plugin import *  # noqa: F403\n",
            **{f"exercises/test_{name}.py": text for name, text in TESTS.items()},
            **{f"solutions/{name}.py": text for name, text in SOLUTIONS.items()},
        },
    )
    return manifest.load(root / "exercises")


def fill(folder, files):
    """Write files, {place: text or bytes}, into a folder that may have to be made."""
    for place, content in files.items():
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder
