"""``run``: the same function on every rank, simulated or real."""

import contextvars
import importlib
import operator
from collections.abc import Sequence

from minigrad import backend
from minigrad.distributed import launching
from minigrad.distributed.simulated import trace as tracing

ENGINES = ("simulated", "mpi", "nccl")
_inside = contextvars.ContextVar("whether this is a rank", default=False)


class Run(Sequence):
    """What a run left: ``run[r]`` is what rank r returned.

    seconds: simulated time until the last rank was done (None on real engines); traffic, a Traffic;
    events, a list of Events, or None where they were not kept. With real engines traffic and events
    are None.
    """

    def __init__(self, results, engine, seconds=None, traffic=None, events=None):
        self.results, self.engine, self.seconds = list(results), engine, seconds
        self.traffic, self.events = traffic, events

    def __getitem__(self, rank):
        return self.results[rank]

    def __len__(self):
        return len(self.results)

    def timeline(self, **options):
        """A picture of what each rank did when; options as for ``viz.rank_timeline``."""
        from minigrad.viz import rank_timeline

        events = self._kept("timeline")
        spans = [(e.rank, e.begin, e.end, e.name, e.kind) for e in events]
        return rank_timeline(spans, **options)

    def save_trace(self, path):
        """Write the timeline as a .json file that https://ui.perfetto.dev opens."""
        tracing.save(self._kept("save_trace"), path)

    def _kept(self, what):
        if self.events is None:
            raise ValueError(f"{what}: no events were kept; run(…, trace=True) keeps them")
        return self.events

    def __repr__(self):
        if self.seconds is None:
            return f"<Run of {len(self)} ranks on {self.engine}>"
        return (
            f"<Run of {len(self)} ranks: {self.seconds:.3g} simulated seconds, "
            f"{self.traffic.bytes():,} bytes in {self.traffic.messages():,} messages>"
        )


def run(fn, size=None, engine=None, *, args=(), topology=None, timeout=None, faults=(), trace=None):
    """Call ``fn(comm, *args)`` on ``size`` ranks, each with its Communicator; a Run.

    engine: "simulated", ranks in this process, one at a time, deterministic; "mpi" or "nccl", this
    process as one of ``size`` that `minigrad launch -n SIZE script.py` (or mpiexec) has started.
    None is "simulated", or, in a launched script, what it was launched with; ``size`` may then be
    left out, too. With "mpi" and "nccl" every process gets the whole Run.

    For the simulated engine alone: topology, of this package; timeout, the longest that a rank may
    wait for a message, in simulated seconds; faults, a list of Faults; trace, whether events are
    kept (by default up to 64 ranks).

    Raises what a rank raised, with a note that says which; DistributedError where ranks disagree,
    wait for each other, or one has gone; ValueError for sizes that cannot be; RuntimeError inside
    of another run; ImportError where an engine's package is missing.
    """
    if _inside.get():
        raise RuntimeError(
            "run: a rank cannot begin another run; split() its communicator, or return first"
        )
    engine = engine or launching.engine_of() or "simulated"
    if engine not in ENGINES:
        known = ", ".join(map(repr, ENGINES))
        raise ValueError(f"run: engine is {engine!r}; expected one of {known}")
    if size is None:
        if engine == "simulated":
            raise ValueError("run: size is missing; how many ranks are there to be?")
    else:
        size = operator.index(size)
        if size < 1:
            raise ValueError(f"run: size is {size}; expected at least 1 rank")
    token = _inside.set(True)
    try:
        if engine == "simulated":
            from minigrad.distributed.simulated import simulate

            found = simulate(fn, size, args, topology, timeout, faults, trace)
            return Run(found[0], engine, *found[1:])
        real = importlib.import_module(f"minigrad.distributed.{engine}")
        return Run(real.run(fn, size, args), engine)
    finally:
        _inside.reset(token)


def check_started(engine, size, started):
    """Raise ValueError where ``run`` was asked for another number of ranks than were launched."""
    if size is not None and size != started:
        raise ValueError(
            f"run: size is {size}, and {started} process{'es' * (started > 1)} started; "
            f"`minigrad launch -n {size} --engine {engine} script.py` starts {size}"
        )


def began_alike(fn, comm, args, state):
    """``fn(comm, *args)`` with random numbers from ``state`` on, the same on all ranks, as
    simulated ranks have it; this process's own go on afterwards as if nothing had been drawn."""

    def begin():
        backend.own_random_state(state)
        return fn(comm, *args)

    return contextvars.copy_context().run(begin)
