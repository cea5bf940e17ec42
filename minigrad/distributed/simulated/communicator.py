"""The communicator of simulated ranks."""

import contextlib
import functools
import math

import numpy as np

from minigrad import engine
from minigrad.distributed import collectives, ops
from minigrad.distributed.algorithms import chosen
from minigrad.distributed.communicator import Communicator, Handle, describe
from minigrad.distributed.errors import DistributedError
from minigrad.distributed.places import called_from
from minigrad.distributed.simulated.endpoint import Endpoint


class Group:
    """What the ranks of a communicator share: who they are, and which calls are being made."""

    def __init__(self, machine, worlds):
        self.machine, self.worlds, self.size = machine, worlds, len(worlds)
        self.calls = {}  # {number of the call: what the first rank to come called}
        self.endpoints = self.made()
        self.tagged = {}  # {tag: Endpoints for send and recv}
        machine.groups.append(self)

    def made(self):
        """An Endpoint for each rank, for messages that meet no others."""
        endpoints = [Endpoint(self.machine, rank, self.worlds) for rank in range(self.size)]
        for endpoint in endpoints:
            endpoint.members = endpoints
        return endpoints

    def unanswered(self):
        """What ranks called or sent that others should have called or received, in words."""
        for call in self.calls.values():
            yield (
                f"rank {call.rank} called {call.words} at {call.where()}; "
                f"{call.came} of {self.size} ranks of its group did"
            )
        for endpoints in self.tagged.values():
            for endpoint in endpoints:
                for source, box in endpoint.inbox.items():
                    if box:
                        yield (
                            f"rank {self.worlds[source]} sent {box[0].array.dtype} "
                            f"{box[0].array.shape}, which rank {endpoint.world} never received"
                        )


class Call:
    """A collective call that some ranks have made: the first one's, and how many have come."""

    __slots__ = ("came", "rank", "signature", "values", "waiting", "where", "words")

    def __init__(self, rank, signature, words, where):
        self.rank, self.signature, self.words, self.where = rank, signature, words, where
        self.came, self.values, self.waiting = 0, {}, []


class SimulatedCommunicator(Communicator):
    """See ``Communicator``. ``machine`` keeps time and counts traffic."""

    engine = "simulated"

    def __init__(self, machine, group, rank):
        self.machine, self.group, self.rank, self.size = machine, group, rank, group.size
        self.world = group.worlds[rank]
        self.endpoint = group.endpoints[rank]
        self.made = 0  # collective calls so far
        self.stream = None  # the last collective that was begun and not waited for
        self.early = {}  # messages taken for irecvs that nobody has waited for yet

    # ---------------------------------------------------------------- collectives

    def _begin(self, collective, x, algorithm, parameters, async_op):
        rows = collective == "all_to_all_rows"
        algorithm = "direct" if rows else chosen(collective, algorithm, x.nbytes)
        shape = x.shape[1:] if rows else x.shape
        told = {} if rows else parameters
        signature = (collective, shape, x.dtype, tuple(told.items()), algorithm)
        where = called_from()
        words = describe(collective, x, parameters)
        fault = self.machine.called(self.world, words, where)
        if fault is not None and fault.kind == "skip":
            return Handle(x.copy) if async_op else x.copy()
        self._meet(signature, words, where)
        late = fault.seconds if fault is not None else 0.0
        work = getattr(collectives, collective)
        doing = functools.partial(work, x=x, algorithm=algorithm, **parameters)
        return self._do(collective, doing, where, async_op, late)

    def _do(self, name, work, where, async_op=False, late=0.0):
        machine, endpoint, before = self.machine, self.endpoint, self.stream
        counted = name.removesuffix("_rows")
        traffic = machine.counted(machine.phases[self.world], counted)

        def run():
            if before is not None:
                machine.after(before)
            task = machine.task
            task.clock += late
            endpoint.traffic = traffic
            endpoint.doing = lambda: f"in {name} at {where()} "
            begin, sent = task.clock, endpoint.sent
            result = work(p=endpoint)
            endpoint.doing = None
            machine.span(self.world, "communicate", name, begin, task.clock, endpoint.sent - sent)
            return result

        if not async_op:
            result = run()
            if self.stream is before:
                self.stream = None
            return result
        task = self.stream = machine.spawn(self.world, run, machine.task.clock, name)
        return Handle(lambda: machine.after(task))

    def _meet(self, signature, words, where):
        """Enter the next collective call of the group, which must be the same on all ranks."""
        number, group = self.made, self.group
        self.made += 1
        call = group.calls.get(number)
        if call is None:
            call = group.calls[number] = Call(self.world, signature, words, where)
        elif call.signature != signature:
            raise DistributedError(
                f"ranks do not agree on call {number + 1} of their group: rank {self.world} calls "
                f"{words} at {where()}, where rank {call.rank} called {call.words} at "
                f"{call.where()}{_differing(call.signature, signature)}"
            )
        call.came += 1
        if call.came == group.size:
            del group.calls[number]
        return call

    def barrier(self):
        where = called_from()
        fault = self.machine.called(self.world, "barrier()", where)
        if fault is not None and fault.kind == "skip":
            return
        self._meet(("barrier",), "barrier()", where)
        late = fault.seconds if fault is not None else 0.0
        self._do("barrier", collectives.barrier, where, late=late)

    def split(self, color, key=0):
        where = called_from()
        fault = self.machine.called(self.world, "split()", where)
        if fault is not None and fault.kind == "skip":
            return SimulatedCommunicator(self.machine, Group(self.machine, [self.world]), 0)
        self.machine.task.clock += fault.seconds if fault is not None else 0.0
        call = self._meet(("split",), f"split({color!r})", where)
        call.values[self.rank] = (color, key)
        if call.came < self.size:
            call.waiting.append(self.machine.task)
            self.machine.wait(lambda: f"in split at {where()} for the others")
        else:
            # The last to come makes the groups.
            colors = {c for c, _ in call.values.values() if c is not None}
            groups = {}
            for each in colors:
                order = sorted((k, rank) for rank, (c, k) in call.values.items() if c == each)
                ranks = [rank for _, rank in order]
                groups[each] = Group(self.machine, [self.group.worlds[r] for r in ranks])
            call.values = groups
            for task in call.waiting:
                self.machine.wake(task)
        if color is None:
            return None
        group = call.values[color]
        return SimulatedCommunicator(self.machine, group, group.worlds.index(self.world))

    # ---------------------------------------------------------------- from one to another

    def _tagged(self, tag):
        endpoints = self.group.tagged.get(tag)
        if endpoints is None:
            endpoints = self.group.tagged[tag] = self.group.made()
        return endpoints[self.rank]

    def _point(self, what, x, tag, **partners):
        """(endpoint, seconds late, whether to skip) for a message, all checked."""
        where = called_from()
        for name, partner in partners.items():
            self._member(what, name, partner)
            if partner == self.rank and what != "send_recv":
                raise ValueError(f"{what}: {name} is {partner}, this rank itself")
        words = describe(what, x, partners)
        fault = self.machine.called(self.world, words, where)
        endpoint = self._tagged(self._tag(what, tag))
        endpoint.traffic = self.machine.counted(self.machine.phases[self.world], what)
        endpoint.doing = lambda: f"in {what} at {where()} "
        skip = fault is not None and fault.kind == "skip"
        return endpoint, fault.seconds if fault is not None else 0.0, skip

    def send(self, x, dest, tag=0):
        if isinstance(x, engine.Traced):
            return ops.send(x, comm=self, dest=dest, tag=tag)
        x = self._array("send", x)
        endpoint, late, skip = self._point("send", x, tag, dest=dest)
        if skip:
            return
        machine = self.machine
        begin = machine.task.clock
        self._sent(endpoint, x, dest, late)()
        machine.span(self.world, "communicate", "send", begin, machine.task.clock, x.nbytes)

    def recv(self, like, source, tag=0):
        if isinstance(like, engine.Traced):
            return ops.recv(like, comm=self, source=source, tag=tag)
        return self.irecv(like, source, tag, _name="recv").wait()

    def send_recv(self, x, dest, source, tag=0):
        if isinstance(x, engine.Traced):
            return ops.send_recv(x, comm=self, dest=dest, source=source, tag=tag)
        x = self._array("send_recv", x)
        alone = self._partners(dest, source)
        endpoint, late, skip = self._point("send_recv", x, tag, dest=dest, source=source)
        if skip or alone:
            return x.copy()
        machine = self.machine
        begin = machine.task.clock
        arrived = self._expected("send_recv", endpoint, x, source, tag)
        self._number(endpoint, dest)
        message = endpoint.post(x, dest, late)
        array = arrived()
        machine.task.clock = max(machine.task.clock, message.end)
        machine.span(self.world, "communicate", "send_recv", begin, machine.task.clock, x.nbytes)
        return array

    def isend(self, x, dest, tag=0):
        x = self._array("isend", self._untraced("isend", x))
        endpoint, late, skip = self._point("isend", x, tag, dest=dest)
        if skip:
            return Handle(lambda: None)
        return Handle(self._sent(endpoint, x, dest, late))

    def _sent(self, endpoint, x, dest, late):
        """Post a message; () -> None, which waits until a receive for it has been begun: nobody
        may count on a buffer between two ranks."""
        machine, doing, peer = self.machine, endpoint.doing, endpoint.members[dest]
        number = self._number(endpoint, dest)
        message = endpoint.post(x, dest, late)

        def received():
            while peer.begun.get(self.rank, 0) <= number:
                peer.senders.setdefault(self.rank, []).append(machine.task)
                machine.wait(lambda: f"{doing()}for rank {endpoint.worlds[dest]} to receive")
            machine.task.clock = max(machine.task.clock, message.end)

        return received

    def _number(self, endpoint, dest):
        """How many messages went to ``dest`` before this one."""
        number = endpoint.numbers.get(dest, 0)
        endpoint.numbers[dest] = number + 1
        return number

    def irecv(self, like, source, tag=0, _name="irecv"):
        like = self._array(_name, engine.plain(like))
        endpoint, late, skip = self._point(_name, like, tag, source=source)
        self.machine.task.clock += late
        if skip:
            return Handle(lambda: np.zeros_like(like))
        machine, arrived = self.machine, self._expected(_name, endpoint, like, source, tag)

        def finish():
            begin = machine.task.clock
            array = arrived()
            machine.span(self.world, "communicate", _name, begin, machine.task.clock)
            return array

        return Handle(finish)

    def _expected(self, what, endpoint, like, source, tag):
        """() -> the array that answers this receive: messages are matched in the order in which
        receives were begun, not waited for."""
        machine, doing = self.machine, endpoint.doing
        taken = self.early.setdefault((source, tag), {"asked": 0, "came": 0})
        number = taken["asked"]
        taken["asked"] += 1
        endpoint.begun[source] = number + 1
        for task in endpoint.senders.pop(source, ()):
            machine.wake(task)

        def arrived():
            while number not in taken:
                endpoint.doing = doing
                taken[taken["came"]] = endpoint.take(source)
                taken["came"] += 1
            message = taken.pop(number)
            machine.task.clock = max(machine.task.clock, message.end)
            array = message.array
            if array.shape != like.shape or array.dtype != like.dtype:
                raise DistributedError(
                    f"{what}: rank {self.group.worlds[source]} sent {array.dtype} {array.shape}, "
                    f"rank {self.world} expected {like.dtype} {like.shape}"
                )
            return array

        return arrived

    # ---------------------------------------------------------------- simulated time

    def compute(self, seconds, name="compute"):
        if not 0 <= seconds < math.inf:
            raise ValueError(f"compute: seconds must not be negative, got {seconds}")
        task = self.machine.task
        self.machine.span(self.world, "compute", name, task.clock, task.clock + seconds)
        task.clock += seconds

    @contextlib.contextmanager
    def phase(self, name):
        phases = self.machine.phases
        before, phases[self.world] = phases[self.world], name
        try:
            yield
        finally:
            phases[self.world] = before

    @property
    def clock(self):
        return self.machine.task.clock


def _differing(one, other):
    names = ("the collective", "the shape", "the dtype", "the arguments", "the algorithm")
    if one[0] != other[0]:
        return ""
    return "; they differ in " + " and ".join(n for n, a, b in zip(names, one, other) if a != b)
