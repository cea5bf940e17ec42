"""A communicator that counts what is called of it, and may allow a part of it only."""

import difflib

from minigrad.distributed.communicator import Communicator

#: what every rank may ask
ALWAYS = ("rank", "size")
NAMES = sorted(
    name
    for name in vars(Communicator)
    if not name.startswith("_") and name not in ("apply", "engine")
)


class Watched:
    """A communicator of which only the methods in ``may_use`` can be called (None: all).

    Args:
        comm: the Communicator that does the work.
        count: called with the name of each method that is called.
        refuse: called with the name of a method that may not be used; it has to raise.
        may_use: names of methods.

    What ``split`` gives is watched in the same way. Raises AttributeError for what no communicator
    has, with the name that may be meant.
    """

    def __init__(self, comm, count, refuse, may_use=None):
        self._comm, self._count, self._refuse, self._may_use = comm, count, refuse, may_use

    def __getattr__(self, name):
        if name not in NAMES:
            raise AttributeError(f"a communicator has no {name!r}{_meant(name)}")
        if name not in ALWAYS and self._may_use is not None and name not in self._may_use:
            self._refuse(name)
        value = getattr(self._comm, name)
        if not callable(value):
            return value

        def counted(*arguments, **keywords):
            self._count(name)
            result = value(*arguments, **keywords)
            if isinstance(result, Communicator):
                return Watched(result, self._count, self._refuse, self._may_use)
            return result

        return counted

    def __repr__(self):
        return f"<communicator: rank {self._comm.rank} of {self._comm.size}>"


def _meant(name):
    plain = name.lower().replace("_", "")
    same = [known for known in NAMES if known.replace("_", "") == plain]
    close = same or difflib.get_close_matches(name, NAMES, 1)
    return f"; is {close[0]} meant?" if close else f"; it has {', '.join(NAMES)}"
