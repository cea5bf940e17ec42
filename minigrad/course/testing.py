"""What the tests of exercises are written with: `expect`, `at_most`, `given`, `empty`, `fail`."""

from typing import NamedTuple

import numpy as np

from minigrad.course import words
from minigrad.course.answers import call_of, calls
from minigrad.sandbox.plain import Given
from minigrad.sandbox.verdicts import Wrong

#: largest error allowed, relative to the largest expected number
TOLERANCES = {"float16": 1e-2, "float32": 1e-5, "float64": 1e-10}
REAL = (int, float, np.integer, np.floating)


def given(name, *arguments):
    """A function for the learner's function to receive, built on its side of the wall.

    Args:
        name: a factory in ``_given.py``, beside the tests.
        arguments: plain values to call the factory with.
    """
    return Given(name, arguments)


def empty(*shape, dtype="float32"):
    """An array for a kernel to write into: NaN is what nobody has written."""
    return np.full(shape, np.nan, dtype)


def fail(message):
    """Say that the answer to the last call is wrong, in words of the test's own."""
    raise Wrong(f"{calls[-1][0]}\n\n{message}" if calls else message)


def expect(got, want, mistakes=None, *, tolerance=None, dtype="same"):
    """Check that an answer is the expected one, and name the mistake if it is a known one.

    Types are exact, nested ones too (a tuple is no list, True is no 1), and so are shapes.
    Where a float is wanted, any real number will do; numbers may differ by the tolerance.

    Args:
        got: what the learner's function returned.
        want: what it should have returned.
        mistakes: {words: wrong answer, or a function without arguments that gives it}; the words
            end the message when the answer is that wrong answer.
        tolerance: largest error, relative to the largest expected number; None takes TOLERANCES.
        dtype: "same", or "float" where arrays may be of any floating-point dtype.

    Raises Wrong, which says what was called, expected and returned, and where they differ.
    """
    found = difference(got, want, tolerance, dtype)
    if found is None:
        return
    lines = [call_of(got), ""]
    if found.place:
        lines += [f"Element {found.place} of what is returned is not right."]
    lines += [f"expected: {words.value(found.want)}", f"got:      {words.value(found.got)}"]
    lines += [found.words]
    for mistake, wrong in (mistakes or {}).items():
        wrong = wrong() if callable(wrong) else wrong
        if difference(got, wrong, tolerance, dtype) is None:
            lines += ["", f"Likely mistake: {mistake}."]
            break
    raise Wrong("\n".join(lines).strip().replace("\n\n\n", "\n\n"))


def at_most(got, most, what, mistake=None):
    """Check that a kernel that was right was also sparing.

    Args:
        got, most: how many there were, and how many are enough.
        what: of what, in words: "sectors of x read".
        mistake: in words, what too many come from.
    """
    if got > most:
        more = f"\n\nLikely mistake: {mistake}." if mistake else ""
        fail(f"The values are right. But: {what}: {got:,}, and {most:,} are enough.{more}")


class Difference(NamedTuple):
    """Where a value is not the expected one: the innermost pair that differs, and how in words.

    ``place`` is "" for the value itself, "[1]['a']" for a part of it; ``words`` may be empty where
    the pair says it all.
    """

    place: str
    got: object
    want: object
    words: str


def difference(got, want, tolerance=None, dtype="same", place=""):
    """The first Difference of a plain value from the expected one; None if there is none."""
    differs = lambda how: Difference(place, got, want, how)
    if type(want) in (list, tuple, dict):
        if type(got) is not type(want) or len(got) != len(want):
            return differs(f"expected {words.kind(want)}, got {words.kind(got)}")
        if type(want) is dict and set(got) != set(want):
            return differs(f"expected the keys {list(want)}, got {list(got)}")
        keys = want if type(want) is dict else range(len(want))
        parts = (difference(got[k], want[k], tolerance, dtype, f"{place}[{k!r}]") for k in keys)
        return next(filter(None, parts), None)
    if type(want) is np.ndarray:
        how = _array_difference(got, want, tolerance, dtype)
        return how and differs(how)
    number = got[()] if type(got) is np.ndarray and not got.ndim else got
    if not _same_kind(number, want):
        return differs(f"expected {words.kind(want)}, got {words.kind(got)}")
    if isinstance(want, (float, np.floating, complex, np.complexfloating)):
        wrong = _far(np.asarray(number), np.asarray(want), tolerance, dtype).any()
    else:
        wrong = number != want
    return differs("") if wrong else None


def _same_kind(got, want):
    """Whether a scalar is of the sort that is expected."""
    if isinstance(want, (bool, np.bool_)):
        return isinstance(got, (bool, np.bool_))
    if isinstance(want, (int, np.integer)):
        return isinstance(got, (int, np.integer)) and not isinstance(got, bool)
    if isinstance(want, (float, np.floating)):
        return isinstance(got, REAL) and not isinstance(got, bool)
    if isinstance(want, (complex, np.complexfloating)):
        return isinstance(got, (*REAL, complex, np.complexfloating)) and not isinstance(got, bool)
    return type(got) is type(want)


def _array_difference(got, want, tolerance, dtype):
    """How an array differs from the expected one, in words; None if it does not."""
    if type(got) is not np.ndarray:
        return f"expected {words.kind(want)}, got {words.kind(got)}"
    if got.shape != want.shape:
        return f"expected the shape {want.shape}, got {got.shape}"
    floats = got.dtype.kind == "f" and want.dtype.kind == "f"
    if got.dtype != want.dtype and not (dtype == "float" and floats):
        return f"expected the dtype {want.dtype}, got {got.dtype}"
    wrong = _far(got, want, tolerance, dtype)
    if not wrong.any():
        return None
    first = tuple(map(int, np.argwhere(wrong)[0])) if want.ndim else ()
    where = f"at [{', '.join(map(str, first))}]" if first else "in the only element"
    pair = [_number(array[first], 6) for array in (want, got)]
    if pair[0] == pair[1]:
        pair = [_number(array[first], 16) for array in (want, got)]
    count = f" ({wrong.sum():,} of {wrong.size:,} differ)" if wrong.size > 1 else ""
    return f"the first difference is {where}: expected {pair[0]}, got {pair[1]}{count}"


def _number(value, digits):
    return f"{value:.{digits}g}" if value.dtype.kind in "fc" else f"{value.item()!r}"


def _far(got, want, tolerance, dtype):
    """Where two arrays of one shape differ by more than the tolerance allows: booleans.

    The tolerance is that of the expected dtype: an answer that is less exact than that does not
    make itself right by saying so, except where single precision is allowed.
    """
    if want.dtype.kind not in "fc":
        return np.asarray(got != want)
    if tolerance is None:
        tolerance = TOLERANCES.get(want.real.dtype.name, 0.0)
        if dtype == "float" and got.real.dtype.name == "float32":
            tolerance = max(tolerance, TOLERANCES["float32"])
    finite = np.abs(want[np.isfinite(want)])
    scale = finite.max() if finite.size and finite.max() > 0 else 1.0
    wide = np.result_type(got, want, np.float64)
    got, want = got.astype(wide), want.astype(wide)
    with np.errstate(all="ignore"):
        near = np.abs(got - want) <= tolerance * scale
    return ~(near | (got == want) | (np.isnan(got) & np.isnan(want)))
