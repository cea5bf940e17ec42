"""The trusted side: a process behind walls, its clock, and the channel to it."""

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigrad.sandbox import plain, verdicts, worker
from minigrad.sandbox.jail import TIERS

HERE = Path(__file__).resolve().parent
ANSWER, GIVEN = "/answer", "/given"
SYSTEM_FOLDERS = ("/lib", "/lib32", "/lib64", "/usr/lib", "/usr/lib32", "/usr/lib64")
SYSTEM_FILES = ("/etc/ld.so.cache", "/dev/null")
START_SECONDS = 60
GRACE_SECONDS = 5
FIRST_UID = 0x6D670000


@dataclass(frozen=True)
class Limits:
    """What code may use: seconds of processor and of wall time, bytes, and processes.

    After a time-out the calls that follow may have the same time anew, ``renewals`` times.
    """

    seconds: float = 10
    wall: float = 30
    renewals: int = 0
    memory: int = 2 << 30
    output: int = 16 << 10
    file_size: int = 8 << 20
    files: int = 64
    processes: int = 1


class Sandbox:
    """Calls functions of an untrusted file in a process of its own.

    The process starts with the first call, fresh; when it dies the next call starts another, with
    the time that is left. Used as a context manager, it leaves no process behind.

    Args:
        folder: the folder that holds the file, and nothing that must not be seen.
        name: the file's name without ``.py``.
        given: path of the file that builds functions named by `plain.Given`, or None.
        may_import, may_not_call: as for :class:`minigrad.sandbox.worker.Student`.
        limits: for all calls together.
        tier: one of `jail.TIERS`; `best_tier` chooses.
        hidden: folders that must not be seen even where a library folder holds them.
    """

    def __init__(
        self,
        folder,
        name,
        *,
        given=None,
        may_import=("numpy",),
        may_not_call=(),
        limits=Limits(),
        tier="open",
        hidden=(),
    ):
        if tier not in TIERS:
            raise ValueError(f"Sandbox: tier must be one of {', '.join(TIERS)}, not {tier!r}")
        self.folder, self.name, self.given = Path(folder).resolve(), name, given
        self.may_import, self.may_not_call = list(may_import), list(may_not_call)
        self.limits, self.tier, self.hidden = limits, tier, [str(path) for path in hidden]
        self.processor = self.wall = 0.0
        self.renewals, self._timed_out = limits.renewals, False
        self.process = None
        self._has_ranks = False
        self._output, self._dropped = bytearray(), 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def output(self):
        """What the code printed so far, cut after ``limits.output`` bytes."""
        text = self._output.decode("utf-8", "replace")
        return f"{text}\n… and {self._dropped:,} bytes more" if self._dropped else text

    def load(self):
        """Run the file itself; raises a `verdicts.Failure` if it cannot be run."""
        self._value(None, self.name)

    def call(self, function, *arguments, **keywords):
        """The plain value that a function of the file returns for plain arguments.

        Raises a `verdicts.Failure` that says why there is none, or `verdicts.Fault` if the
        sandbox itself does not work.
        """
        return self._value((function, arguments, keywords), function)

    def launch(self, kernel, grid, block, arguments):
        """What `launching.run` finds when a kernel of the file is launched; the file is not run.

        Raises as `call` does.
        """
        return self._value((kernel, grid, block, tuple(arguments)), kernel)

    def on_ranks(self, function, arguments, keywords, of_rank, settings):
        """What `worker.Student.on_ranks` finds: (results, what the simulator counted).

        The process that can do it has the simulator in memory; one without it is replaced.
        Raises as `call` does.
        """
        if not self._has_ranks:
            self._has_ranks = True
            self.close()
        return self._value((function, arguments, keywords, of_rank, settings), function)

    def _value(self, request, function):
        reply = self._ask(request)
        try:
            return verdicts.value_of(reply, function)
        except verdicts.Died:  # what wrote that cannot be talked to any more
            self.close()
            raise

    def _ask(self, request):
        data = plain.encode(request)
        self._check_time()
        if self.process is None:
            self._start()
        with self._clock():
            try:
                frame = self._channel.ask(worker.framed(data), self.limits.wall - self.wall)
                reply = frame and plain.decode(frame)
            except queue.Empty:
                self.wall = self.limits.wall
                self.close()
                raise self._time_out() from None
            except plain.NotPlainError as error:
                self.close()
                words = f"the process wrote into the grader's channel: {error}"
                raise verdicts.Died(words) from None
            if frame is None:
                self._died()
        return reply

    @contextlib.contextmanager
    def _clock(self):
        """Count what a block takes as time of the answer: also what it takes to be rid of it."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.wall += time.monotonic() - began

    def _died(self):
        """Say how the process ended; always raises."""
        status = self.close(dying=True)
        if self.processor >= self.limits.seconds:
            raise self._time_out()
        raise verdicts.Died(_death_words(status))

    def _check_time(self):
        """Raise TimedOut if no time is left; after that the next call has it anew, if it may."""
        if self.wall < self.limits.wall and self.processor < self.limits.seconds:
            return
        if not self._timed_out or not self.renewals:
            raise self._time_out()
        self.renewals, self._timed_out = self.renewals - 1, False
        self.wall = self.processor = 0.0
        self.close()

    def _time_out(self):
        self._timed_out = True
        seconds = f"{self.limits.seconds:g} seconds"
        words = f"the whole exercise may take {seconds}; they are over, and this call is not"
        return verdicts.TimedOut(words)

    def _start(self):
        self._mount = tempfile.mkdtemp(prefix="minigrad-") if self.tier == "namespaces" else None
        settings = json.dumps(self._settings()).encode() + b"\n"
        flags = subprocess.CREATE_NEW_PROCESS_GROUP if os.name == "nt" else 0
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-s", "-P", "-B", "-X", "utf8", str(HERE / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder if self.tier == "open" else None,
            env=_environment(),
            start_new_session=os.name == "posix",
            creationflags=flags,
        )
        self._channel = _Channel(self.process)
        self._printed = threading.Thread(
            target=self._collect, args=(self.process.stderr,), daemon=True
        )
        self._printed.start()
        try:
            ready = self._channel.ask(settings, START_SECONDS)
        except (queue.Empty, plain.NotPlainError):
            ready = None
        if ready is None:  # nobody's code has run yet
            self.close(dying=True)
            raise verdicts.Fault(f"no sandbox of tier {self.tier!r} can start: {self.output}")

    def _settings(self):
        left = self.limits.seconds - self.processor
        walled = self.tier == "namespaces"
        site = Path(np.__file__).resolve().parent.parent
        given = self.given and str(Path(self.given).resolve())
        settings = {
            "tier": self.tier,
            "uid": _own_uid() if self.tier in ("namespaces", "user") else None,
            "site": str(site),
            "kernels": _kernels() if "kernels" in self.may_import else None,
            "ranks": str(HERE.parent) if self._has_ranks else None,
            "limits": {
                "seconds": math.ceil(left + 0.5),
                "memory": self.limits.memory,
                "file_size": self.limits.file_size,
                "files": self.limits.files,
                "processes": self.limits.processes,
            },
            "student": {
                "folder": ANSWER if walled else str(self.folder),
                "name": self.name,
                "given": given and (f"{GIVEN}/_given.py" if walled else given),
                "may_import": self.may_import,
                "may_not_call": self.may_not_call,
            },
        }
        if walled:
            settings |= {"root": self._mount, "library": _library(), "hidden": self.hidden}
            settings["shown"] = [(str(self.folder), ANSWER), *_packages(site, self.may_import)]
            if given:
                settings["shown"].append((given, f"{GIVEN}/_given.py"))
        return settings

    def _collect(self, pipe):
        """Keep the first of what is printed and throw the rest away, so that nobody blocks."""
        while piece := pipe.read1(1 << 16):
            room = self.limits.output - len(self._output)
            self._output += piece[:room]
            self._dropped += max(0, len(piece) - room)

    def close(self, dying=False):
        """End the process and whatever it started; its wait status, or None if none ran.

        Args:
            dying: whether it is about to end by itself, so that its own status can be had.
        """
        if self.process is None:
            return None
        process, self.process = self.process, None
        status, seconds = _end(process, self.tier, GRACE_SECONDS if dying else 0)
        self.processor += seconds
        self._channel.close()
        self._printed.join(GRACE_SECONDS)
        if self._mount:
            os.rmdir(self._mount)
        return status


class _Channel:
    """Requests to a process and a reply to each, read only once it is asked for.

    A thread of its own writes and reads, so that nobody who does not listen, or answers slowly,
    can hold up more than that thread.
    """

    def __init__(self, process):
        self.requests, self.replies = queue.SimpleQueue(), queue.SimpleQueue()
        pipes = (process.stdin, process.stdout)
        self.thread = threading.Thread(target=self._serve, args=pipes, daemon=True)
        self.thread.start()

    def _serve(self, stdin, stdout):
        while (data := self.requests.get()) is not None:
            with contextlib.suppress(OSError):  # gone already: there is no reply to be read
                stdin.write(data)
                stdin.flush()
            try:
                self.replies.put(worker.read_frame(stdout))
            except plain.NotPlainError as error:
                self.replies.put(error)
        for pipe in (stdin, stdout):
            with contextlib.suppress(OSError):
                pipe.close()

    def ask(self, data, seconds):
        """The next frame, None when there is no more.

        Raises queue.Empty when it takes longer, and NotPlainError for what is no frame.
        """
        self.requests.put(data)
        reply = self.replies.get(timeout=max(0, seconds))
        if isinstance(reply, plain.NotPlainError):
            raise reply
        return reply

    def close(self):
        """Let go of the pipes; the process is gone."""
        self.requests.put(None)
        self.thread.join(GRACE_SECONDS)


def _end(process, tier, patience):
    """Wait for a process, kill it when patience (seconds) is out: (wait status, seconds used)."""
    if os.name != "posix":
        process.kill()
        return process.wait(), 0.0
    pid = process.pid
    status, usage = _wait(pid, patience)
    if usage is None and tier == "namespaces":
        # The guard outside kills the first process inside, and the kernel all others with it.
        os.kill(pid, signal.SIGTERM)
        status, usage = _wait(pid, GRACE_SECONDS)
    with contextlib.suppress(OSError):
        os.killpg(pid, signal.SIGKILL)
    if usage is None:
        _, status, usage = os.wait4(pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_utime + usage.ru_stime


def _wait(pid, seconds):
    """(status, usage) of a child that ends in time; (None, None) of one that does not."""
    until, pause = time.monotonic() + seconds, 0.0005
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            return status, usage
        if time.monotonic() >= until:
            return None, None
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def _death_words(status):
    """How a process ended, from its exit status (128 and more, or negative: a signal)."""
    number = -status if status < 0 else status - 128
    if status < 0 or status > 128:
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        if name in ("SIGSEGV", "SIGBUS", "SIGILL", "SIGABRT"):
            return f"the Python interpreter crashed ({name})"
        return f"the process was killed ({name})"
    return f"the code ended its own process (exit status {status})"


def _environment():
    """The least a Python needs: nothing of the caller's is to be seen."""
    environment = {"PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    if os.name == "nt":
        environment["SYSTEMROOT"] = os.environ["SYSTEMROOT"]
    return environment


def _library():
    """(source, target) of what Python needs to be seen."""
    folders = [*SYSTEM_FOLDERS, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")]
    if sys.base_prefix not in ("/", "/usr"):
        folders.append(f"{sys.base_prefix}/lib")
    shown = []
    for path in [*folders, *SYSTEM_FILES]:
        inside = any(path == other or path.startswith(f"{other}/") for other, _ in shown)
        if os.path.exists(path) and not inside:
            shown.append((path, path))
    return shown


def _packages(site, names):
    """(source, target) of the packages that may be imported, NumPy always, and of no others."""
    names = dict.fromkeys(["numpy", *names])
    paths = [site / f"{name}{end}" for name in names for end in ("", ".libs")]
    return [(str(path), str(path)) for path in paths if path.exists()]


def _kernels():
    """The folder of the package of kernels, which lies beside minigrad."""
    folder = HERE.parent.parent / "kernels"
    if not (folder / "__init__.py").exists():
        raise verdicts.Fault(
            f"the package `kernels`, which comes with minigrad, is not at {folder}"
        )
    return str(folder)


def _own_uid():
    """A user that nobody else is, where root grades; None where somebody else does."""
    if os.name != "posix" or os.geteuid() != 0:
        return None
    uid = FIRST_UID + os.getpid() % 65536
    with contextlib.suppress(OSError), open("/proc/self/uid_map") as file:
        ranges = [tuple(map(int, line.split())) for line in file]
        if not any(first <= uid < first + count for first, _, count in ranges):
            return max(first + count - 1 for first, _, count in ranges)
    return uid


PROBE = """
import fractions

import numpy.ma


def half(x):
    return float(fractions.Fraction(1, 2)) * numpy.ma.asarray(x).sum()
"""


def best_tier():
    """The safest of `jail.TIERS` that works on this machine, by trying them."""
    tiers = ["namespaces"] if sys.platform == "linux" else []
    if _own_uid() is not None:
        tiers.append("user")
    return next(filter(works, tiers), "process")


def works(tier):
    """Whether code in a sandbox of some tier finds all it needs: Python's library, and NumPy."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        Path(folder, "probe.py").write_text(PROBE)
        try:
            with Sandbox(folder, "probe", tier=tier) as box:
                return box.call("half", [1.0, 2.0]) == 1.5
        except (verdicts.Fault, verdicts.Failure):
            return False
