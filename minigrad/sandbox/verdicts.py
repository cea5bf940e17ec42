"""What can go wrong with code nobody trusts, each an exception of its own."""

import re

from minigrad.sandbox.worker import MAX_FRAMES, MAX_TEXT


class Failure(Exception):
    """The other side did not answer with a plain value. ``kind`` says how in one or two words."""

    kind = "failed"


class Unwritten(Failure):
    """The function is still a stub: it raises NotImplementedError."""

    kind = "unwritten"


class Raised(Failure):
    """The function, or the file when it was read, raised an exception.

    ``frames`` are (file, line, function, source text) from the call to where it was raised.
    """

    kind = "raised"

    def __init__(self, error, message, frames):
        super().__init__(f"{error}: {message}" if message else error)
        self.error, self.frames = error, frames


class Unreadable(Failure):
    """The file is not Python, or not there."""

    kind = "unreadable"


class Missing(Failure):
    """The file does not define the function."""

    kind = "missing"


class NotAllowed(Failure):
    """The code uses what the exercise asks it to be."""

    kind = "not allowed"


class NotKernelLanguage(NotAllowed):
    """A kernel holds what kernels may not."""

    kind = "no kernel language"


class NotPlain(Failure):
    """The function returned something that is not a plain value."""

    kind = "not plain"


class Changed(Failure):
    """The function wrote into its own arguments."""

    kind = "changed its input"


class Wrong(Failure):
    """The function returned a plain value, and not the right one."""

    kind = "wrong"


class Race(Wrong):
    """Two threads of a kernel touch one place, and nothing says who comes first."""

    kind = "race"


class TooCostly(Wrong):
    """The values are right, and it takes more to get them than it need."""

    kind = "too costly"


class NotAsAsked(Wrong):
    """The values are right, and they are not got in the way that the exercise asks for."""

    kind = "not as asked"


class Refused(Failure):
    """A given function does not let itself be used like that: ``_given.py`` raised its Refused."""

    kind = "wrong"


class TimedOut(Failure):
    """The code took more than its time."""

    kind = "timed out"


class Died(Failure):
    """The process ended in mid-call: an exit, a crash of the interpreter, a kill."""

    kind = "died"


class Fault(Exception):
    """The sandbox itself does not work: nobody's answer is to blame."""


FORGED = "the process wrote something of its own into the channel to the grader"


def value_of(reply, function):
    """The value in a reply of :class:`minigrad.sandbox.worker.Student`; raises the failure in it.

    The reply may be forged, so every shape of it is accepted only if it is exactly right, and no
    text in it is taken at any length.
    """
    match reply:
        case ("value", value, []):
            return value
        case ("value", _, [str(), *_] as changed) if all(type(name) is str for name in changed):
            names = _cut(", ".join(changed[:MAX_FRAMES]))
            raise Changed(f"{function} changes its argument {names} in place")
        case ("raised", "NotImplementedError", str(message), list()):
            # A stub says which function it is; it need not be the one that was called.
            stub = re.fullmatch(r"ex\d\d_\w+: ([\w.]+)", message)
            name = stub[1] if stub else function
            needed = f", and {function} needs it" if name != function else ""
            raise Unwritten(f"{name} is not written yet{needed}")
        case ("raised", str(error), str(message), list(frames)) if all(map(_is_frame, frames)):
            cut = [(_cut(f), line, _cut(n), _cut(t)) for f, line, n, t in frames[:MAX_FRAMES]]
            raise Raised(_cut(error), _cut(message), cut)
        case ("refused", str(message)):
            raise Refused(_cut(message))
        case ("unreadable", str(message)):
            raise Unreadable(_cut(message))
        case ("missing", str(message)):
            raise Missing(_cut(message))
        case ("not allowed", str(message)):
            raise NotAllowed(_cut(message))
        case ("no kernel language", str(message)):
            raise NotKernelLanguage(_cut(message))
        case ("not plain", str(message)):
            raise NotPlain(f"{function} returned what cannot be compared: {_cut(message)}")
    raise Died(FORGED)


def _cut(text):
    # The honest other side has cut its texts already, and said so at their end.
    return text if len(text) <= MAX_TEXT + 2 else f"{text[:MAX_TEXT]} …"


def _is_frame(frame):
    return type(frame) is tuple and [type(part) for part in frame] == [str, int, str, str]
