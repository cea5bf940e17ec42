"""What must hold of collectives and schemes on every engine: functions for ranks, and their checks.

The simulated engine runs them in the quick tests, MPI and NCCL where there are processes or GPUs.
"""

from typing import NamedTuple


class Case(NamedTuple):
    """``check(results)`` looks at what ``fn(comm)`` returned on each of ``size`` ranks."""

    fn: object
    size: int
    check: object
