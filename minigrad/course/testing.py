"""What the tests of exercises are written with: `expect`, `given` and `fail`."""

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
    lines = [call_of(got), "", *_beside("expected", want), *_beside("got", got)]
    plain_scalars = type(got) is type(want) and not isinstance(
        want, (list, tuple, dict, np.ndarray)
    )
    if not plain_scalars:
        lines.append(found)
    for mistake, wrong in (mistakes or {}).items():
        wrong = wrong() if callable(wrong) else wrong
        if difference(got, wrong, tolerance, dtype) is None:
            lines += ["", f"Likely mistake: {mistake}."]
            break
    raise Wrong("\n".join(lines).strip())


def _beside(label, value):
    text = words.value(value)
    return [f"{label}:", words.indented(text)] if "\n" in text else [f"{label + ':':<10}{text}"]


def difference(got, want, tolerance=None, dtype="same", place=""):
    """How one plain value differs from another, in words; None if it does not."""
    at = f"in element {place}: " if place else ""
    if type(want) in (list, tuple, dict):
        if type(got) is not type(want) or len(got) != len(want):
            return f"{at}expected {words.kind(want)}, got {words.kind(got)}"
        if type(want) is dict and list(got) != list(want) and set(got) != set(want):
            return f"{at}expected the keys {list(want)}, got {list(got)}"
        keys = want if type(want) is dict else range(len(want))
        parts = (difference(got[k], want[k], tolerance, dtype, f"{place}[{k!r}]") for k in keys)
        return next(filter(None, parts), None)
    if type(want) is np.ndarray:
        return _array_difference(got, want, tolerance, dtype, at)
    if type(got) is np.ndarray and not got.ndim:
        got = got[()]
    if not _same_kind(got, want):
        return f"{at}expected {words.kind(want)}, got {words.kind(got)}"
    if isinstance(want, (float, np.floating, complex, np.complexfloating)):
        wrong = _far(np.asarray(got), np.asarray(want), tolerance)
        return f"{at}expected {want:.10g}, got {got:.10g}" if wrong.any() else None
    return None if got == want else f"{at}expected {words.value(want)}, got {words.value(got)}"


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


def _array_difference(got, want, tolerance, dtype, at):
    if type(got) is not np.ndarray:
        return f"{at}expected {words.kind(want)}, got {words.kind(got)}"
    if got.shape != want.shape:
        return f"{at}expected the shape {want.shape}, got {got.shape}"
    floats = got.dtype.kind == "f" and want.dtype.kind == "f"
    if got.dtype != want.dtype and not (dtype == "float" and floats):
        return f"{at}expected the dtype {want.dtype}, got {got.dtype}"
    wrong = _far(got, want, tolerance)
    if not wrong.any():
        return None
    first = tuple(map(int, np.argwhere(wrong)[0])) if want.ndim else ()
    where = f"[{', '.join(map(str, first))}]" if first else "the only element"
    pair = f"expected {want[first]:.6g}, got {got[first]:.6g}"
    if want.dtype.kind in "fc" and f"{want[first]:.6g}" == f"{got[first]:.6g}":
        pair = f"expected {want[first]:.15g}, got {got[first]:.15g}"
    count = f" ({wrong.sum():,} of {wrong.size:,} differ)" if wrong.size > 1 else ""
    return f"{at}the first difference is at {where}: {pair}{count}"


def _far(got, want, tolerance):
    """Where two arrays of one shape differ by more than the tolerance allows: booleans."""
    if want.dtype.kind not in "fc":
        return np.asarray(got != want)
    if tolerance is None:
        pair = [x.real.dtype.name for x in (got, want)]
        tolerance = max(TOLERANCES.get(name, 0.0) for name in pair)
    finite = np.abs(want[np.isfinite(want)])
    scale = finite.max() if finite.size and finite.max() > 0 else 1.0
    wide = np.result_type(got, want, np.float64)
    got, want = got.astype(wide), want.astype(wide)
    with np.errstate(all="ignore"):
        near = np.abs(got - want) <= tolerance * scale
    return ~(near | (got == want) | (np.isnan(got) & np.isnan(want)))
