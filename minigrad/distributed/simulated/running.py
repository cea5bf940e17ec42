"""Starting simulated ranks."""

import functools
from typing import NamedTuple

from minigrad.distributed.simulated.communicator import Group, SimulatedCommunicator
from minigrad.distributed.simulated.machine import Machine
from minigrad.distributed.simulated.topology import FullyConnected
from minigrad.distributed.simulated.traffic import Traffic

MOST = 1024  # ranks
TRACED = 64  # up to so many ranks, events are kept unless asked otherwise


class Fault(NamedTuple):
    """Something to go wrong: at its ``call``-th call of a communicator (from 1), ``rank`` dies
    ("die"), does not make it ("skip"), or makes it ``seconds`` late ("late")."""

    kind: str
    rank: int
    call: int
    seconds: float = 0.0


def simulate(fn, size, args, topology, timeout, faults, trace):
    """(results of all ranks, simulated seconds, Traffic, events or None)."""
    if size > MOST:
        raise ValueError(f"run: size is {size}; the simulated engine runs up to {MOST} ranks")
    topology = FullyConnected() if topology is None else topology
    topology.fits(size)
    for fault in faults:
        if not isinstance(fault, Fault):
            raise TypeError(f"run: faults holds {fault!r}; expected a list of Faults")
        if fault.kind not in ("die", "skip", "late") or not 0 <= fault.rank < size:
            raise ValueError(
                f"run: {fault}: expected kind 'die', 'skip' or 'late', and a rank below {size}"
            )
    trace = size <= TRACED if trace is None else trace
    machine = Machine(size, topology, faults, timeout, trace)
    group = Group(machine, list(range(size)))
    works = [
        functools.partial(fn, SimulatedCommunicator(machine, group, rank), *args)
        for rank in range(size)
    ]
    results, seconds = machine.run(works)
    return results, seconds, Traffic(machine.counts, size, topology), machine.events
