"""Answers to an exercise as tests see them: their functions are attributes.

The file may run in this process (`LocalAnswer`, so that a debugger can step into it) or behind
the walls of a sandbox; plain values go in and come out either way.
"""

import ast
import collections
import dataclasses
import functools
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from minigrad.course import words
from minigrad.sandbox import plain, verdicts, worker


class Call(NamedTuple):
    """A call: how it looked and what it returned; of a kernel's launch the arrays that it wrote,
    {name: array}, and what would explain NaN in them, lines of text; ``is_of_ranks``: whether the
    result is a list of what ranks returned; ``brief``: of a call on ranks, how it looks without the
    numbers of larger arrays."""

    text: str
    result: object = None
    outputs: dict = {}  # noqa: RUF012
    suspects: tuple = ()
    is_of_ranks: bool = False
    brief: str = ""

    def name_of(self, value):
        """Which of several arrays that a kernel wrote this is; "" if there is no doubt."""
        names = [name for name, array in self.outputs.items() if array is value]
        return names[0] if names and len(self.outputs) > 1 else ""


#: the last calls, the newest last
calls = collections.deque(maxlen=16)


def call_of(value):
    """The Call that returned a value, or an element of it; the last one if none did."""
    for call in reversed(calls):
        elements = call.result if type(call.result) in (list, tuple) else call.outputs.values()
        if call.result is value or any(element is value for element in elements):
            return call
    return calls[-1] if calls else Call("")


def parameters(path):
    """{function: names of its positional parameters} of a file; {} if it cannot be read."""
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return {f.name: [a.arg for a in (*f.args.posonlyargs, *f.args.args)] for f in functions}


class Answer:
    """``answer.function(*arguments)`` calls the learner's function, wherever it runs.

    Args:
        call: ``call(function, *arguments, **keywords)``, which returns a plain value or raises a
            :class:`minigrad.sandbox.Failure`.
        parameters: {function: names of its parameters}, to be shown in messages; None for none.
        launch: ``launch(kernel, grid, block, arguments)``, as `minigrad.sandbox.Sandbox.launch`.
        on_ranks: as `minigrad.sandbox.Sandbox.on_ranks`.
    """

    def __init__(self, call, parameters=None, launch=None, on_ranks=None):
        self._call, self._parameters, self._stopped = call, parameters or {}, None
        self._launch, self._on_ranks = launch, on_ranks

    def __getattr__(self, function):
        if function.startswith("_"):
            raise AttributeError(function)
        return Callable(self, function)

    def _called(self, function, *arguments, **keywords):
        if self._stopped:
            raise self._stopped
        names = self._parameters.get(function, ())
        calls.append(Call(words.call(function, arguments, keywords, names)))
        result = self._call(function, *arguments, **keywords)
        calls[-1] = calls[-1]._replace(result=result)
        return result

    def _launched(self, kernel, grid, block, inputs, outputs):
        if self._stopped:
            raise self._stopped
        arguments, names = (*inputs, *outputs.values()), self._parameters.get(kernel, ())
        text = words.call(f"{kernel}[{grid}, {block}]", arguments, {}, names)
        calls.append(Call(text))
        run = Run(self._launch(kernel, grid, block, arguments))
        written = {name: run.arrays[name] for name in outputs if name in run.arrays}
        calls[-1] = Call(text, None, written, tuple(run.suspects))
        if run.races:
            raise verdicts.Race("\n".join([text, "", RACE, *run.races]))
        for name, before in zip(names, inputs):
            after = run.arrays.get(name)
            if after is not None and after.tobytes() != before.tobytes():
                raise verdicts.Changed(f"{kernel} writes into {name}, which it should only read")
        return run

    def _ran(self, function, size, may_use, topology, arguments, keywords):
        """The Ranks that a function makes of its arguments behind the communicator."""
        if self._stopped:
            raise self._stopped
        names = self._parameters.get(function, ())[1:]
        text, brief = (
            words.call(function, (COMM, *arguments), keywords, ("", *names), most)
            + f"\non {size} rank{'s' * (size > 1)}"
            for most in (words.SMALL, words.FEW)
        )
        calls.append(Call(text, brief=brief))
        named = {**dict(enumerate(arguments)), **keywords}
        own = {key: value.values for key, value in named.items() if type(value) is PerRank}
        for key, values in own.items():
            if len(values) != size:
                raise ValueError(f"{function}: {key}: {len(values)} values for {size} ranks")
        shared = lambda value: None if type(value) is PerRank else value
        kind = topology and (type(topology).__name__, dataclasses.asdict(topology))
        reply = self._on_ranks(
            function,
            tuple(map(shared, arguments)),
            {name: shared(value) for name, value in keywords.items()},
            [{key: values[rank] for key, values in own.items()} for rank in range(size)],
            {"may_use": None if may_use is None else list(may_use), "topology": kind},
        )
        run = Ranks(reply, size, topology)
        calls[-1] = calls[-1]._replace(result=run.results, is_of_ranks=True)
        return run


class Comm:
    """How a communicator is shown in a call."""

    def __repr__(self):
        return "comm"


COMM = Comm()


class PerRank(NamedTuple):
    """An argument that each rank has a value of its own for."""

    values: list


class Ranks(Sequence):
    """What a function did on several ranks: ``run[r]`` is what rank r returned.

    results: all of these, a list; seconds: simulated, until the last rank was done; calls: {method
    of the communicator: [how often each rank called it]}; traffic: a
    `minigrad.distributed.simulated.traffic.Traffic`, ``run.traffic.sent()`` being the bytes that
    each rank sent; events: a list of `trace.Event`, in the order of their beginnings.
    """

    def __init__(self, reply, size, topology=None):
        self.topology = topology
        try:
            self.results, seen = reply
            self.seconds, self.calls = float(seen["seconds"]), seen["calls"]
            self._flows, self._events = seen["flows"], seen["events"]
            good = type(self.results) is list and len(self.results) == size
            good &= all(_are(times, [int] * size) for times in self.calls.values())
            good &= all(_are(flow, [str, str, int, int, int, int]) for flow in self._flows)
            good &= all(0 <= flow[2] < size and 0 <= flow[3] < size for flow in self._flows)
            good &= all(_are(event, [int, str, str, float, float, int]) for event in self._events)
        except (TypeError, ValueError, KeyError, AttributeError):
            good = False
        if not good:
            raise verdicts.Died(verdicts.FORGED)

    def __getitem__(self, rank):
        return self.results[rank]

    def __len__(self):
        return len(self.results)

    def called(self, name):
        """[how often each rank called a method of the communicator]."""
        return self.calls.get(name, [0] * len(self))

    @functools.cached_property
    def traffic(self):
        """All messages, as the simulator counted them."""
        from minigrad.distributed.simulated.topology import FullyConnected
        from minigrad.distributed.simulated.traffic import Traffic

        counts = {}
        for phase, collective, source, destination, nbytes, messages in self._flows:
            pairs = counts.setdefault((phase, collective), {})
            pairs[source * len(self) + destination] = [nbytes, messages]
        return Traffic(counts, len(self), self.topology or FullyConnected())

    @functools.cached_property
    def events(self):
        """What each rank did when."""
        from minigrad.distributed.simulated.trace import Event

        return sorted((Event(*event) for event in self._events), key=lambda event: event.begin)


def _are(values, kinds):
    return type(values) in (list, tuple) and [type(value) for value in values] == kinds


KEYS = ("count", "bytes", "requests", "transfers", "most")
RACE = "A race: two threads touch one place, one of them writes, and nothing says who comes first."


class Callable:
    """A function of an answer; if it is a kernel, ``answer.add[grid, block](x, y, out=array)``; if
    it takes a communicator, ``answer.ring.on_ranks(4)(per_rank(arrays), root=1)``.

    Arrays that a kernel writes into are named; those that it only reads are not.
    """

    def __init__(self, answer, name):
        self.answer, self.name = answer, name

    def __call__(self, *arguments, **keywords):
        return self.answer._called(self.name, *arguments, **keywords)

    def __getitem__(self, configuration):
        grid, block = configuration
        return lambda *inputs, **outputs: self.answer._launched(
            self.name, grid, block, inputs, outputs
        )

    def on_ranks(self, size, *, may_use=None, topology=None):
        """Call it on so many simulated ranks; see `minigrad.course.testing`."""
        return lambda *arguments, **keywords: self.answer._ran(
            self.name, size, may_use, topology, arguments, keywords
        )


class Run:
    """What a kernel did: ``run["out"]`` is an array as the kernel left it.

    ``reads(array)`` and ``writes(array)`` are {"count", "bytes", "requests", "transfers", "most"}:
    how many accesses of threads, their bytes, how many requests of warps, what moves for these
    (sectors of 32 bytes), and the most accesses of one thread. Those of "shared" are of all shared
    memory, and there wavefronts are counted; those of "global" are of all arrays.
    """

    def __init__(self, found):
        self.arrays, self.races, self.memory = found["arrays"], found["races"], found["memory"]
        self.suspects = found["suspects"]

    def __getitem__(self, name):
        return self.arrays[name]

    def reads(self, array):
        """The reads of an array, or of shared memory."""
        return self._sum(array, "reads")

    def writes(self, array):
        """The writes to an array, or to shared memory."""
        return self._sum(array, "writes")

    def _sum(self, array, what):
        entries = [
            entry[what]
            for name, entry in self.memory.items()
            if name == array or entry["space"] == array
        ]
        return {key: sum(entry[key] for entry in entries) for key in KEYS}


class LocalAnswer:
    """Calls the functions of a file in this very process.

    Args: as for :class:`minigrad.sandbox.worker.Student`.
    """

    def __init__(self, *arguments, **keywords):
        self.student = worker.Student(*arguments, **keywords)

    def call(self, function, *arguments, **keywords):
        """The plain value that a function returns; raises a :class:`minigrad.sandbox.Failure`."""
        request = plain.encode((function, arguments, keywords))
        reply = self.student.call(*plain.decode(request, functions=True))
        return verdicts.value_of(reply, function)

    def launch(self, kernel, grid, block, arguments):
        """What a kernel does; as :meth:`minigrad.sandbox.Sandbox.launch`."""
        reply = self.student.launch(kernel, grid, block, arguments)
        return verdicts.value_of(reply, kernel)

    def on_ranks(self, function, *request):
        """What a function does on ranks; as :meth:`minigrad.sandbox.Sandbox.on_ranks`."""
        request = plain.decode(plain.encode((function, *request)), functions=True)
        return verdicts.value_of(self.student.on_ranks(*request), function)
