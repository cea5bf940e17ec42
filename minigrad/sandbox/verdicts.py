"""What can go wrong with code nobody trusts, each an exception of its own."""


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


class NotPlain(Failure):
    """The function returned something that is not a plain value."""

    kind = "not plain"


class Changed(Failure):
    """The function wrote into its own arguments."""

    kind = "changed its input"


class Wrong(Failure):
    """The function returned a plain value, and not the right one."""

    kind = "wrong"


class TimedOut(Failure):
    """The code took more than its time."""

    kind = "timed out"


class Died(Failure):
    """The process ended in mid-call: an exit, a crash of the interpreter, a kill."""

    kind = "died"


class Fault(Exception):
    """The sandbox itself does not work: nobody's answer is to blame."""


def value_of(reply, function):
    """The value in a reply of :class:`minigrad.sandbox.worker.Student`; raises the failure in it.

    The reply may be forged, so every shape of it is accepted only if it is exactly right.
    """
    match reply:
        case ("value", value, []):
            return value
        case ("value", _, [str(), *_] as changed) if all(type(name) is str for name in changed):
            raise Changed(f"{function} changes its argument {', '.join(changed)} in place")
        case ("raised", "NotImplementedError", str(), list()):
            raise Unwritten(f"{function} is not written yet")
        case ("raised", str(error), str(message), list(frames)) if all(map(_is_frame, frames)):
            raise Raised(error, message, frames)
        case ("unreadable", str(message)):
            raise Unreadable(message)
        case ("missing", str(message)):
            raise Missing(message)
        case ("not allowed", str(message)):
            raise NotAllowed(message)
        case ("not plain", str(message)):
            raise NotPlain(f"{function} returned what cannot be compared: {message}")
    raise Died("the process wrote something of its own into the channel to the grader")


def _is_frame(frame):
    return type(frame) is tuple and [type(part) for part in frame] == [str, int, str, str]
