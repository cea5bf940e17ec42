"""Answers to an exercise as tests see them: their functions are attributes.

The file may run in this process (`LocalAnswer`, so that a debugger can step into it) or behind
the walls of a sandbox; plain values go in and come out either way.
"""

import ast
import collections
import warnings

from minigrad.course import words
from minigrad.sandbox import plain, verdicts, worker

#: the last calls as (how it looked, what it returned), the newest last
calls = collections.deque(maxlen=16)


def call_of(value):
    """How the call looked that returned a value, or an element of it; the last one if none did."""
    for text, result in reversed(calls):
        elements = result if type(result) in (list, tuple) else ()
        if result is value or any(element is value for element in elements):
            return text
    return calls[-1][0] if calls else ""


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
    """

    def __init__(self, call, parameters=None, launch=None):
        self._call, self._parameters, self._stopped = call, parameters or {}, None
        self._launch = launch

    def __getattr__(self, function):
        if function.startswith("_"):
            raise AttributeError(function)
        return Callable(self, function)

    def _called(self, function, *arguments, **keywords):
        if self._stopped:
            raise self._stopped
        names = self._parameters.get(function, ())
        calls.append((words.call(function, arguments, keywords, names), None))
        result = self._call(function, *arguments, **keywords)
        calls[-1] = (calls[-1][0], result)
        return result

    def _launched(self, kernel, grid, block, inputs, outputs):
        if self._stopped:
            raise self._stopped
        arguments, names = (*inputs, *outputs.values()), self._parameters.get(kernel, ())
        text = words.call(f"{kernel}[{grid}, {block}]", arguments, {}, names)
        calls.append((text, None))
        run = Run(self._launch(kernel, grid, block, arguments))
        if run.races:
            raise verdicts.Wrong("\n".join([text, "", RACE, *run.races]))
        for name, before in zip(names, inputs):
            after = run.arrays.get(name)
            if after is not None and after.tobytes() != before.tobytes():
                raise verdicts.Changed(f"{kernel} writes into {name}, which it should only read")
        return run


KEYS = ("count", "bytes", "requests", "transfers")
RACE = "A race: two threads touch one place, one of them writes, and nothing says who comes first."


class Callable:
    """A function of an answer; if it is a kernel, ``answer.add[grid, block](x, y, out=array)``.

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


class Run:
    """What a kernel did: ``run["out"]`` is an array as the kernel left it.

    ``reads(array)`` and ``writes(array)`` are {"count", "bytes", "requests", "transfers"}: how many
    accesses of threads, their bytes, how many requests of warps, and what moves for these: sectors
    of 32 bytes. Those of "shared" are of all shared memory, and there wavefronts are counted; those
    of "global" are of all arrays.
    """

    def __init__(self, found):
        self.arrays, self.races, self.memory = found["arrays"], found["races"], found["memory"]

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
