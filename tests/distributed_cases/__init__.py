"""What must hold of collectives and schemes on every engine: functions for ranks, and their checks.

The simulated engine runs them in the quick tests, MPI and NCCL where there are processes or GPUs.
"""

import os
from typing import NamedTuple

from minigrad import backend


class Case(NamedTuple):
    """``check(results)`` looks at what ``fn(comm)`` returned on each of ``size`` ranks."""

    fn: object
    size: int
    check: object


#: where the ranks' models and arrays are, and the one device's that they are compared with
HOME = "cuda" if os.environ.get("MINIGRAD_ENGINE") == "nccl" else "cpu"


def values(model):
    """{name: array on the CPU} of a model's parameters."""
    return {name: backend.to_device(x, "cpu") for name, x in model.state_dict().items()}
