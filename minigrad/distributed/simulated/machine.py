"""The machine: ranks as greenlets, one at a time, until each has returned or none can go on.

A rank runs until it has to wait for a message or for another task; then the next one that is ready
runs. Nothing depends on the operating system's clock, so each run is the same as the one before.

Time is computed, not measured. A message of n bytes takes α + n·β seconds, and a rank has one port
out and one port in, each with one message at a time; ``Topology`` says what α and β are between
two ranks, and which links messages share. Work takes the seconds that ``Communicator.compute`` was
told.
"""

import collections
import contextvars
import heapq

from greenlet import getcurrent, greenlet

from minigrad import backend
from minigrad.distributed.errors import DistributedError, RankDied, Stopped
from minigrad.distributed.simulated.trace import Event

MOST_TOLD = 8  # ranks that an error tells of


class Task:
    """A line of execution of a rank: the function itself, or a collective that it started."""

    __slots__ = ("clock", "done", "error", "greenlet", "label", "rank", "result", "waits", "wakes")

    def __init__(self, rank, clock, label=""):
        self.rank, self.clock, self.label = rank, clock, label
        self.greenlet = self.waits = self.result = self.error = None
        self.done, self.wakes = False, []

    def __lt__(self, other):
        return self.clock < other.clock


class Machine:
    """Runs ``fn`` on ``size`` simulated ranks; see ``minigrad.distributed.run``."""

    def __init__(self, size, topology, faults=(), timeout=None, trace=True):
        self.size, self.topology, self.timeout = size, topology, timeout
        self.ordered = topology.shared
        self.ready = [] if self.ordered else collections.deque()
        self.task = None  # which runs now
        self.hub = None
        self.alive = {}  # tasks that have not ended, in the order of their beginnings
        self.failed = None
        self.out_free = [0.0] * size  # when a rank's port out is free again, in seconds
        self.in_free = [0.0] * size
        self.link_free = collections.defaultdict(float)
        self.phases = [""] * size
        self.counts = {}  # {(phase, collective): {source·size + destination: [bytes, messages]}}
        self.events = [] if trace else None
        self.calls = [0] * size  # calls of the communicator so far, by rank
        self.faults = {(fault.rank, fault.call): fault for fault in faults}
        self.stopped = False
        self.seconds = 0.0  # until the last task so far was done
        self.routes = {}
        self.groups = []  # of ranks that have a communicator together

    # ---------------------------------------------------------------- ranks, one at a time

    def run(self, works):
        """Run one function a rank to their ends; (their results, seconds). Raises what a rank
        raised, or DistributedError where nobody can go on."""
        self.hub = getcurrent()
        mains = [self.spawn(rank, work, 0.0) for rank, work in enumerate(works)]
        try:
            while self.ready:
                task = self.task = self._next()
                task.greenlet.switch()
                # Back here: a task has ended, or there was none to go on with.
                if self.failed is not None:
                    self._fail(self.failed)
            if self.alive:
                raise DistributedError(self._deadlock())
            if left := [what for group in self.groups for what in group.unanswered()]:
                raise DistributedError(
                    "all ranks have returned, but not all calls were answered\n  "
                    + "\n  ".join(left[:MOST_TOLD])
                )
        finally:
            self.stopped = True
            for task in list(self.alive):
                self._stop(task)
        return [main.result for main in mains], self.seconds

    def spawn(self, rank, work, clock, label=""):
        """A new task of a rank, ready to run from ``clock`` on."""
        task = Task(rank, clock, label)

        def body():
            try:
                task.result = work()
            except Stopped:
                pass
            except BaseException as error:  # whatever it is: the run has to end
                task.error = error
                self.failed = self.failed or task
            task.done = True
            self.seconds = max(self.seconds, task.clock)
            del self.alive[task]
            for waiting in task.wakes:
                self.wake(waiting)

        if label and not self.ordered:
            # A rank's own ports are shared now, by what it does at once.
            self.ordered, self.ready = True, sorted(self.ready)
        task.greenlet = greenlet(body, self.hub)
        task.greenlet.gr_context = contextvars.copy_context()
        if not label:
            # Random numbers as in processes of their own that began alike.
            task.greenlet.gr_context.run(backend.own_random_state)
        self.alive[task] = None
        self.wake(task)
        return task

    def wake(self, task):
        """Let a task go on."""
        task.waits = None
        if self.ordered:
            heapq.heappush(self.ready, task)
        else:
            self.ready.append(task)

    def _next(self):
        return heapq.heappop(self.ready) if self.ordered else self.ready.popleft()

    def wait(self, waits):
        """Let others run until somebody wakes this task. ``waits`` is () -> str: for what."""
        task = self.task
        task.waits = waits
        # A task begins at the hub: begun here, its stack would count as deeper than this one.
        if self.ready and self.ready[0].greenlet:
            other = self.task = self._next()
            other.greenlet.switch()
        else:
            self.hub.switch()
        if self.stopped:
            raise Stopped

    def after(self, task):
        """Wait for another task to end; its result. The clock is then at least that task's."""
        me = self.task
        if not task.done:
            task.wakes.append(me)
            self.wait(lambda: f"for its own {task.label}")
        if task.error is not None:
            raise task.error
        me.clock = max(me.clock, task.clock)
        return task.result

    # ---------------------------------------------------------------- when it goes wrong

    def called(self, rank, what, where):
        """Note a call of the communicator; what the Fault that was asked for here wants, if any."""
        if self.stopped:
            if getcurrent() is self.hub:
                raise DistributedError(f"{what} at {where()}: the run of this communicator is over")
            raise Stopped
        self.calls[rank] += 1
        fault = self.faults.get((rank, self.calls[rank]))
        if fault is None:
            return None
        if fault.kind == "die":
            raise RankDied(f"rank {rank} died at its call number {fault.call}, {what} at {where()}")
        return fault

    def _fail(self, task):
        others = [t for t in self.alive if t.rank != task.rank]
        note = f"rank {task.rank} of {self.size} raised this"
        if others:
            note += f"; the other ranks were stopped:\n{self._told(others)}"
        task.error.add_note(note)
        raise task.error

    def _stop(self, task):
        for _ in range(3):  # a rank that catches everything is stopped at its next call
            if task.greenlet:  # has begun, and has not ended
                self.task = task
                task.greenlet.throw(Stopped)

    def _deadlock(self):
        waiting = {task.rank for task in self.alive}
        returned = sorted(set(range(self.size)) - waiting)
        ended = f"\n  {_numbers(returned)} returned before" if returned else ""
        head = f"nobody can go on: {len(waiting)} of {self.size} ranks wait"
        return f"{head}\n{self._told(self.alive)}{ended}"

    def _told(self, tasks):
        lines = [
            f"  rank {t.rank} {'waits ' + t.waits() if t.waits else 'was about to run'}"
            for t in sorted(tasks, key=lambda t: t.rank)[:MOST_TOLD]
        ]
        more = len(tasks) - len(lines)
        return "\n".join([*lines, f"  … and {more} more"] if more else lines)

    # ---------------------------------------------------------------- time and traffic

    def route(self, source, destination):
        """(α in seconds, β in seconds a byte, links shared with others) between two ranks."""
        key = source * self.size + destination
        route = self.routes.get(key)
        if route is None:
            route = self.routes[key] = self.topology.route(source, destination)
        return route

    def catch_up(self):
        """Let whoever is behind in time book ports and links first."""
        task = self.task
        while self.ready and self.ready[0].clock < task.clock:
            self.wake(task)
            self.wait(lambda: "for ranks that are behind")

    def begins(self, source, destination, nbytes, late=0.0):
        """Send a message: (when it leaves, seconds it takes). Books the port out and the links."""
        task = self.task
        alpha, beta, links = self.route(source, destination)
        if self.ordered:
            self.catch_up()
        begin = task.clock if task.clock > self.out_free[source] else self.out_free[source]
        for link in links:
            begin = max(begin, self.link_free[link])
        took = alpha + nbytes * beta + late
        self.out_free[source] = begin + took
        for link in links:
            self.link_free[link] = begin + took
        return begin, took

    def span(self, rank, kind, name, begin, end, nbytes=0):
        """Note what a rank did between two times."""
        if self.events is not None and end > begin:
            self.events.append(Event(rank, kind, name, begin, end, nbytes))

    def counted(self, phase, collective):
        """{source·size + destination: [bytes, messages]} of a phase's collective, to count in."""
        counts = self.counts.get((phase, collective))
        if counts is None:
            counts = self.counts[phase, collective] = {}
        return counts


def _numbers(ranks):
    shown = ", ".join(map(str, ranks[:MOST_TOLD]))
    more = f" and {len(ranks) - MOST_TOLD} more" if len(ranks) > MOST_TOLD else ""
    return f"rank{'s' * (len(ranks) > 1)} {shown}{more}"
