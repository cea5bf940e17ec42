"""What the tests of exercises are written with: `expect`, `at_most`, `but`, `explained`,
`given`, `empty`, `fail`; and `per_rank`, for functions that run on several simulated ranks.

A function whose first argument is a communicator is called on P ranks at once:

    POINT_TO_POINT = ("send", "recv", "send_recv", "isend", "irecv")

    def test_the_ring_adds_up(answer, rng):
        x = rng.normal(size=(4, 8))
        run = answer.ring_all_reduce.on_ranks(4, may_use=POINT_TO_POINT)(per_rank(x))
        expect(run, [x.sum(axis=0)] * 4, mistakes={"only the neighbour's is added": [...]})
        at_most(max(run.traffic.sent()), 2 * 3 * 2 * 8, "bytes of a rank", "no chunks are sent")

`on_ranks(size, may_use=None, topology=None)`: ``may_use`` names the methods of the communicator
that may be called (`rank` and `size` always may; None: all); another one ends the call as not
allowed, with the line. ``topology`` is one of `minigrad.distributed`'s. Then come the arguments
behind the communicator: plain, the same for every rank, or `per_rank`, by place or by keyword.
Each rank has copies of its own, and also the learner's file for itself: no variable is shared.

What comes back is a `minigrad.course.answers.Ranks`: ``run[r]``, ``run.results``;
``run.traffic.sent()``, ``.received()``, ``.bytes(source=0, collective="send", phase="gradients")``,
``.messages(…)``; ``run.called("all_reduce")``, how often each rank called it, ``run.calls``, all
of these; ``run.seconds``, simulated; ``run.events``, which rank computed or sent what when. A rank
that raises, a deadlock, and calls that do not match reach the learner in words, with the lines.

All of it is counted where the learner's code runs, as with `given` functions: good against
mistakes, not against somebody who tampers with that process. Values are compared here. So let a
test ask for values first, of inputs that nobody can guess, and count afterwards. The time limit is
that of the exercise, the simulator's work included; a deadlock is found at once. Do not list in
``may_not_call`` what the simulator needs itself, such as `numpy.concatenate`, `numpy.split`, or a
ufunc. Functions that a learner builds on ranks take and give plain arrays, without derivatives:
where a backward pass is the point, ask for two functions, or for a pair.
"""

import contextlib
from typing import NamedTuple

import numpy as np

from minigrad.course import words
from minigrad.course.answers import PerRank, Ranks, call_of, calls
from minigrad.sandbox.plain import Given
from minigrad.sandbox.verdicts import NotAsAsked, Raised, TooCostly, Wrong

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


def per_rank(values):
    """An argument of which rank r is given ``values[r]``; see above."""
    return PerRank(list(values))


def empty(*shape, dtype="float32"):
    """An array for a kernel to write into: NaN is what nobody has written."""
    return np.full(shape, np.nan, dtype)


def fail(message):
    """Say that the answer to the last call is wrong, in words of the test's own."""
    raise Wrong(_of_last_call(message))


def but(message):
    """Say that what the last call gave is right, and not got in the way that is asked for."""
    raise NotAsAsked(_of_right_call(f"The values are right. But {message}"))


@contextlib.contextmanager
def explained(**mistakes):
    """Name the likely mistake behind an exception that the learner's function raises.

    Args:
        mistakes: {name of the exception's class: words}.
    """
    try:
        yield
    except Raised as failure:
        if words_for_it := mistakes.get(failure.error):
            failure.args = (f"{failure.args[0]}\n\nLikely mistake: {words_for_it}.",)
        raise


def _of_last_call(message):
    return f"{calls[-1].text}\n\n{message}" if calls else message


def _of_right_call(message):
    """Below a call on ranks, of which large arrays are not worth seeing: their values are right."""
    return f"{calls[-1].brief or calls[-1].text}\n\n{message}" if calls else message


def expect(got, want, mistakes=None, *, tolerance=None, dtype="same"):
    """Check that an answer is the expected one, and name the mistake if it is a known one.

    Types are exact, nested ones too (a tuple is no list, True is no 1), and so are shapes.
    Where a float is wanted, any real number will do; numbers may differ by the tolerance.

    Args:
        got: what the learner's function returned; of one on ranks, ``run`` or ``run[r]``.
        want: what it should have returned; for ``run`` a list, of one value a rank.
        mistakes: {words: wrong answer, or a function without arguments that gives it}; the words
            end the message when the answer is that wrong answer.
        tolerance: largest error, relative to the largest expected number; None takes TOLERANCES.
        dtype: "same", or "float" where arrays may be of any floating-point dtype.

    Raises Wrong, which says what was called, expected and returned, and where they differ.
    """
    got = got.results if isinstance(got, Ranks) else got
    found = difference(got, want, tolerance, dtype)
    if found is None:
        return
    call = call_of(got)
    lines = [call.text, ""]
    if where := _of_rank(call, got, found.place):
        lines += [where]
    elif found.place:
        lines += [f"Element {found.place} of what is returned is not right."]
    if name := call.name_of(got):
        lines += [f"{name} is not right."]
    pair = words.value(found.want), words.value(found.got)
    if pair[0] == pair[1]:
        lines += [f"expected and got: {pair[0]}"]
    else:
        lines += [f"expected: {pair[0]}", f"got:      {pair[1]}"]
    lines += [found.words, "", *_explained(call, got, want, mistakes or {}, tolerance, dtype)]
    raise Wrong("\n".join(lines).strip().replace("\n\n\n", "\n\n"))


def _of_rank(call, got, place):
    """Which rank's result is not right, and where in it; "" if no rank is to be named."""
    if not call.is_of_ranks:
        return ""
    if got is call.result:
        rank, _, place = place[1:].partition("]")
    else:
        ranks = [r for r, value in enumerate(call.result) if value is got]
        rank = ranks[0] if len(ranks) == 1 else ""
    if rank == "":
        return ""
    element = f"Element {place} of what" if place else "What"
    return f"{element} rank {rank} returns is not right."


def _explained(call, got, want, mistakes, tolerance, dtype):
    """What a wrong answer most likely comes from, in lines."""
    stray = _stray(got, want) if call.suspects else np.empty(0)
    # NaN that has come from unwritten memory of a kernel has other bits than the NaN of `empty`.
    plain = np.isin(stray.view(f"u{stray.itemsize}"), _bits(stray.dtype))
    if not plain.all():
        return call.suspects
    for mistake, wrong in mistakes.items():
        wrong = wrong() if callable(wrong) else wrong
        if difference(got, wrong, tolerance, dtype) is None:
            return [f"Likely mistake: {mistake}."]
    return call.suspects if stray.size else ()


def _stray(got, want):
    """The elements of a floating-point array that are NaN and should not be."""
    arrays = type(got) is type(want) is np.ndarray and got.shape == want.shape
    if not arrays or got.dtype.kind != "f" or want.dtype.kind != "f":
        return np.empty(0)
    return got[np.isnan(got) & ~np.isnan(want)]


def _bits(dtype):
    """The ordinary NaN of a dtype, with either sign, as unsigned integers."""
    return np.array([np.nan, -np.nan], dtype).view(f"u{dtype.itemsize}")


def at_most(got, most, what, mistake=None):
    """Check that what was right was also sparing.

    Args:
        got, most: how many there were, and how many are enough.
        what: of what, in words: "sectors of x read".
        mistake: in words, what too many come from.
    """
    if got > most:
        more = f"\n\nLikely mistake: {mistake}." if mistake else ""
        had, enough = (f"{n:.4g}" if isinstance(n, float) else f"{n:,}" for n in (got, most))
        told = f"The values are right. But: {what}: {had}, and {enough} are enough.{more}"
        raise TooCostly(_of_right_call(told))


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
        more = ""
        if type(want) is int and isinstance(number, (float, np.floating)) and number == want:
            more = ": the value is right, and has to be an integer (// divides integers)"
        return differs(f"expected {words.kind(want)}, got {words.kind(got)}{more}")
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
    count = f" ({wrong.sum():,} of {wrong.size:,} differ{_where(wrong)})" if wrong.size > 1 else ""
    return f"the first difference is {where}: expected {pair[0]}, got {pair[1]}{count}"


def _where(wrong):
    """The part of a large array that holds all that is wrong, unless that is most of it."""
    corners = np.argwhere(wrong)
    first, end = corners.min(axis=0), corners.max(axis=0) + 1
    if wrong.size <= words.SMALL or len(corners) == 1 or 2 * (end - first).prod() > wrong.size:
        return ""
    return f", all in [{', '.join(f'{a}:{b}' for a, b in zip(first, end))}]"


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
