"""What goes wrong among ranks."""


class DistributedError(RuntimeError):
    """A run of several ranks came to no end: who waited where, for whom, and why it was stopped."""


class RankDied(DistributedError):
    """A rank was made to die, as a ``Fault`` had asked."""


class Stopped(BaseException):
    """Thrown into the ranks that are still at work when another one has failed."""
