"""A rank's place in a group: the point-to-point messages from which collectives are built."""

from collections import deque

from minigrad.distributed.errors import DistributedError, Stopped


class Message:
    """An array on its way: when it leaves, how long it takes, when it is there."""

    __slots__ = ("array", "begin", "end", "took")

    def __init__(self, array, begin, took):
        self.array, self.begin, self.took = array, begin, took
        self.end = begin + took


class Endpoint:
    """One rank's mailbox in a group of ranks.

    ``send`` gives a message a copy of an array and goes on at once; ``recv`` waits for one. Time:
    a message leaves when the sender's port is free, and has arrived when the receiver's is, which
    takes messages in the order in which its rank waits for them.
    """

    __slots__ = (
        "awaited", "begun", "doing", "inbox", "machine", "members", "numbers", "rank", "senders",
        "sent", "size", "task", "traffic", "world", "worlds",
    )  # fmt: skip

    def __init__(self, machine, rank, worlds):
        self.machine, self.rank, self.worlds = machine, rank, worlds
        self.world, self.size = worlds[rank], len(worlds)
        self.inbox = {}  # {source: deque of Messages}
        self.awaited = self.task = None
        self.members = None  # the Endpoints of the whole group, set once they all exist
        self.traffic = {}
        self.sent = 0  # bytes
        self.doing = None  # () -> str: for which call, in words
        self.numbers = {}  # {destination: how many messages were sent there with send and isend}
        self.begun = {}  # {source: how many receives were begun}
        self.senders = {}  # {source: tasks there that wait for a receive to be begun here}

    def post(self, array, to, late=0.0):
        """Put a copy of an array into rank ``to``'s mailbox; the Message."""
        machine = self.machine
        if machine.stopped:
            raise Stopped
        destination = self.worlds[to]
        nbytes = array.nbytes
        begin, took = machine.begins(self.world, destination, nbytes, late)
        message = Message(array.copy(), begin, took)
        self.sent += nbytes
        key = self.world * machine.size + destination
        count = self.traffic.get(key)
        if count is None:
            self.traffic[key] = [nbytes, 1]
        else:
            count[0] += nbytes
            count[1] += 1
        peer = self.members[to]
        box = peer.inbox.get(self.rank)
        if box is None:
            box = peer.inbox[self.rank] = deque()
        box.append(message)
        if peer.awaited == self.rank:
            peer.awaited = None
            machine.wake(peer.task)
        return message

    def take(self, source):
        """Wait for the next Message of rank ``source``."""
        box = self.inbox.get(source)
        machine = self.machine
        me = machine.task
        while not box:
            self.awaited, self.task = source, me
            machine.wait(self.waits)
            box = self.inbox.get(source)
        message = box.popleft()
        if not box:
            del self.inbox[source]
        if machine.ordered:
            machine.catch_up()
        begin, took = message.begin, message.took
        if machine.in_free[self.world] > begin:
            begin = machine.in_free[self.world]
        end = message.end = machine.in_free[self.world] = begin + took
        if machine.timeout is not None and end - me.clock > machine.timeout:
            raise DistributedError(
                f"rank {self.world} waited {end - me.clock:.3g} s for a message of rank "
                f"{self.worlds[source]}; the timeout is {machine.timeout:.3g} s"
            )
        if end > me.clock:
            me.clock = end
        return message

    def waits(self):
        """For whom this rank waits, in words."""
        doing = self.doing() if self.doing else ""
        return f"{doing}for rank {self.worlds[self.awaited]}"

    # What algorithms are written with. ``like`` is an array of the shape and dtype to come.

    def send(self, array, to):
        """Send, and have sent: the port out is free again."""
        message = self.post(array, to)
        task = self.machine.task
        if message.end > task.clock:
            task.clock = message.end

    def recv(self, like, source):
        """The array that rank ``source`` sent next."""
        return self.take(source).array

    def send_recv(self, array, to, like, source):
        """Send one array and receive another meanwhile."""
        message = self.post(array, to)
        received = self.take(source).array
        if received.shape != like.shape:
            raise DistributedError(
                f"{self.doing()}rank {self.worlds[source]} sent {received.dtype} {received.shape}, "
                f"rank {self.world} expected {like.dtype} {like.shape}"
            )
        task = self.machine.task
        if message.end > task.clock:
            task.clock = message.end
        return received
