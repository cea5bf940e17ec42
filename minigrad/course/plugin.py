"""Runs the tests of exercises under pytest: fixtures, whose answers to test, and short reports.

`exercises/conftest.py` takes it in. A bare ``pytest`` at the root tests the solutions;
``pytest exercises`` the files in it; ``--answers=FOLDER`` those of any folder.
"""

import os
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from minigrad.course import answers, manifest
from minigrad.sandbox import verdicts

PUBLIC_SEED = 0


def pytest_addoption(parser):
    """Two options: whose answers, and which random inputs."""
    group = parser.getgroup("minigrad exercises")
    group.addoption("--answers", metavar="FOLDER", help="the folder whose answers are tested")
    group.addoption("--seed", type=int, default=PUBLIC_SEED, help="seed of the tests' inputs")
    words = '"cuda" to take what kernels compute from a GPU; they are watched on the simulator'
    group.addoption("--device", default="cpu", choices=("cpu", "cuda"), help=words)


def pytest_configure(config):
    """Without arguments (a bare ``pytest``) the solutions are meant, else the learner's files."""
    if config.option.answers is None:
        bare = config.args_source is pytest.Config.ArgsSource.TESTPATHS
        config.option.answers = "solutions" if bare else "exercises"


@pytest.fixture(scope="module")
def answer(request):
    """The functions of the exercise that the test file belongs to."""
    course = manifest.load(request.path.parent)
    exercise = course.exercise(request.path.stem)
    chosen = request.config.option.answers
    known = {"solutions": course.solutions, "exercises": course.folder}
    folder = known.get(chosen) or Path(request.config.invocation_params.dir, chosen)
    local = answers.LocalAnswer(
        folder,
        exercise.name,
        course.given,
        exercise.may_import,
        exercise.may_not_call,
        device=request.config.option.device,
    )
    parameters = answers.parameters(course.folder / f"{exercise.name}.py")
    return answers.Answer(local.call, parameters, local.launch, local.on_ranks)


@pytest.fixture
def rng(request):
    """A random generator that depends on the seed and on the test's name."""
    return generator(request.config.option.seed, request.node.name)


def generator(seed, test):
    """The random generator of a test."""
    return np.random.default_rng([seed, zlib.crc32(test.encode())])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item, call):
    """Report what is wrong with an answer in its own words, without the test's code around it."""
    if call.excinfo is not None and isinstance(call.excinfo.value, verdicts.Failure):
        # What pytest would say is not only thrown away, it also takes long to make.
        item.repr_failure = lambda excinfo: described(excinfo.value)


def described(failure):
    """A failure as text: its message, and for an exception the lines that led to it."""
    frames = getattr(failure, "frames", [])
    lines = [f"{file}, line {line}, in {name}\n    {text}" for file, line, name, text in frames]
    return "\n".join([f"{failure.kind}: {message(failure)}", *lines])


#: failures whose message does not say which call they come from
OF_A_CALL = (
    verdicts.Raised,
    verdicts.Died,
    verdicts.TimedOut,
    verdicts.NotPlain,
    verdicts.Changed,
    verdicts.Refused,
)


def message(failure):
    """What a failure says, below the call that it comes from."""
    if isinstance(failure, OF_A_CALL) and answers.calls:
        call = answers.calls[-1]
        stuck = getattr(failure, "error", "") == "DistributedError"  # whatever the numbers are
        return f"{call.brief if stuck and call.brief else call.text}\n\n{failure}"
    return str(failure)


class Recorder:
    """A plugin for one run: gives the tests an answer and a seed, and keeps how each test went.

    ``function_of`` says which function a test is about: one that timed out is not tried again.
    The tests named in ``left_out`` are not run.
    ``found`` is {test: (kind, message, frames)}; ``fault`` says what went wrong on this side.
    """

    def __init__(self, answer, seed, function_of=lambda test: test, left_out=()):
        self._answer, self._seed, self._function_of = answer, seed, function_of
        self._left_out, self._timed_out = left_out, {}
        self.found, self.errors, self.fault = {}, [], None
        self.interrupted = False

    @pytest.fixture
    def answer(self):
        """The functions to be tested."""
        return self._answer

    @pytest.fixture
    def rng(self, request):
        """A random generator that depends on the seed and on the test's name."""
        return generator(self._seed, request.node.name)

    def pytest_configure(self, config):
        """Have pytest's own account of a failure, of which nobody reads much, made quickly."""
        config.option.tbstyle = "native"

    def pytest_collection_modifyitems(self, items):
        """Leave out the tests that are not wanted."""
        items[:] = [item for item in items if item.name not in self._left_out]

    def pytest_runtest_setup(self, item):
        """Forget the calls of other tests, but not that their function takes too long."""
        answers.calls.clear()
        self._answer._stopped = self._timed_out.get(self._function_of(item.name))

    def pytest_collectreport(self, report):
        """A test file that cannot be read is no student's fault."""
        if report.failed:
            self.errors.append(str(report.longrepr))

    def pytest_keyboard_interrupt(self, excinfo):
        """Keep that somebody pressed Ctrl-C; pytest would end its run and return."""
        self.interrupted = type(excinfo.value) is KeyboardInterrupt

    def pytest_runtest_logreport(self, report):
        """Keep the reports of tests that did not get as far as their own code."""
        if report.when != "call" and report.failed:
            self.fault = str(report.longrepr)

    def pytest_runtest_makereport(self, item, call):
        """Keep how a test went, from the exception itself."""
        if call.when != "call":
            return
        if call.excinfo is None:
            self.found[item.name] = ("passed", "", ())
            return
        error = call.excinfo.value
        if isinstance(error, KeyboardInterrupt):
            raise error
        if isinstance(error, verdicts.Fault):
            self.fault = str(error)
        if isinstance(error, verdicts.TimedOut):
            self._timed_out[self._function_of(item.name)] = error
        if isinstance(error, verdicts.Failure):
            frames = tuple(getattr(error, "frames", ()))
            self.found[item.name] = (error.kind, message(error), frames)
        else:
            words = f"the test cannot use what was returned ({type(error).__name__}: {error})"
            self.found[item.name] = (verdicts.Wrong.kind, words, ())


#: plugins of pytest that a judge has no use for
UNUSED = (
    *("terminal", "cacheprovider", "faulthandler", "warnings", "doctest", "junitxml"),
    *("unraisableexception", "threadexception"),
)


def run(path, recorder):
    """Run one test file with a Recorder and nobody else's plugins; returns pytest's exit status.

    Raises KeyboardInterrupt after Ctrl-C.
    """
    options = [f"-c{os.devnull}", f"--rootdir={path.parent}", "--noconftest", "--assert=plain"]
    # The tests' own arithmetic may overflow with a student's numbers: no warnings are wanted.
    options += ["--capture=no", "--import-mode=importlib", "--override-ini=addopts="]
    for plugin in UNUSED:
        options += ["-p", f"no:{plugin}"]
    with pytest.MonkeyPatch.context() as patch, np.errstate(all="ignore"):
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.delenv("PYTEST_ADDOPTS", raising=False)
        patch.delenv("PYTEST_PLUGINS", raising=False)
        # Another course may have had a file of this name, and this one may have changed.
        patch.delitem(sys.modules, path.stem, raising=False)
        status = pytest.main([*options, str(path)], plugins=[recorder])
    if recorder.interrupted:
        raise KeyboardInterrupt
    return status
