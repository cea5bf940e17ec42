"""The MPI engine: one process a rank, arrays in the memory of the CPU (mpi4py).

Collectives go to the MPI library (nonblocking calls, waited for), which chooses algorithms of its
own; with ``algorithm=`` ours run on its messages. Before each collective the ranks compare what
they are about to call, so that a mismatch is an error on all of them and not a wait without end; a
rank that returns or raises takes part in that comparison, too. Messages are not compared: a receive
that no rank answers waits until the job is stopped.
"""

import time
import traceback

import numpy as np

from minigrad import backend, engine
from minigrad.distributed import collectives, ops
from minigrad.distributed.communicator import Communicator, Handle, dense, describe
from minigrad.distributed.errors import DistributedError
from minigrad.distributed.places import called_from
from minigrad.distributed.running import began_alike, check_started

try:
    from mpi4py import MPI
except (ImportError, RuntimeError) as error:
    raise ImportError(
        "run: engine 'mpi' needs mpi4py and an MPI library, e.g. `pip install mpi4py mpich`; start "
        "the script with `minigrad launch -n 4 --engine mpi script.py`"
    ) from error

WORDS = 400  # bytes of a call's description that ranks compare
PATIENCE = 10.0  # seconds that a rank which failed waits for the others to hear of it
OPS = {"sum": MPI.SUM, "mean": MPI.SUM, "prod": MPI.PROD, "max": MPI.MAX, "min": MPI.MIN}
TAG = MPI.COMM_WORLD.Get_attr(MPI.TAG_UB)  # of messages that are part of a collective
NATIVE = "bhilqBHILQfd"  # dtypes that the library can add up


class Disagreement(DistributedError):
    """What the comparison before a call found: all ``ranks`` of the group know it."""

    def __init__(self, words, ranks):
        super().__init__(words)
        self.ranks = ranks


class Endpoint:
    """Point-to-point messages for the algorithms that are ours; see ``algorithms``."""

    def __init__(self, comm):
        self.comm, self.rank, self.size = comm, comm.rank, comm.size

    def send(self, array, to):
        self.comm.Send(_bytes(array), to, TAG)

    def recv(self, like, source):
        array = np.empty_like(like, order="C")
        self.comm.Recv(_bytes(array), source, TAG)
        return array

    def send_recv(self, array, to, like, source):
        arrived = np.empty_like(like, order="C")
        self.comm.Sendrecv(_bytes(array), to, TAG, _bytes(arrived), source, TAG)
        return arrived


class MPICommunicator(Communicator):
    """See ``Communicator``. GPU arrays travel by way of the CPU."""

    engine = "mpi"

    def __init__(self, comm, made):
        self.comm, self.made = comm, made
        made.append(comm)  # to be freed after the run
        self.endpoint = Endpoint(comm)
        self.rank, self.size = comm.rank, comm.size

    # ---------------------------------------------------------------- collectives

    def _begin(self, collective, x, algorithm, parameters, async_op):
        self._agree(collective, x, algorithm, parameters)
        device, x = backend.device_of(x), dense(backend.to_device(x, "cpu"))
        if collective == "all_to_all_rows":
            self._agree_on_rows(**parameters)
            handle = self._native(collective, x, parameters)
        elif algorithm is not None or not _adds(x, parameters):
            algorithm = algorithm or _USUAL[collective]
            work = getattr(collectives, collective)
            result = work(self.endpoint, x, algorithm, **parameters)
            handle = Handle(lambda: result)
        else:
            handle = self._native(collective, x, parameters)
        if device != "cpu":
            arrived = handle
            handle = Handle(lambda: backend.to_device(arrived.wait(), device))
        return handle if async_op else handle.wait()

    def _native(self, collective, x, parameters):
        """The MPI library's own collective, begun: a Handle."""
        return getattr(self, f"_{collective}")(x, **parameters)

    def _all_reduce(self, x, op):
        out = np.empty_like(x)
        return _handle(
            self.comm.Iallreduce(x, out, OPS[op]),
            lambda: collectives.finished(out, op, self.size),
            x,
        )

    def _reduce(self, x, op, root):
        out = np.zeros_like(x)
        request = self.comm.Ireduce(x, out if self.rank == root else None, OPS[op], root)
        return _handle(request, lambda: collectives.finished(out, op, self.size), x)

    def _broadcast(self, x, root):
        out = x.copy()
        return _handle(self.comm.Ibcast(_bytes(out), root), lambda: out)

    def _all_gather(self, x, axis):
        out = np.empty((self.size, *x.shape), x.dtype)
        request = self.comm.Iallgather(_bytes(x), _bytes(out))
        return _handle(request, lambda: np.concatenate(list(out), axis), x)

    def _gather(self, x, root, axis):
        out = np.zeros((self.size, *x.shape), x.dtype)
        request = self.comm.Igather(_bytes(x), _bytes(out) if self.rank == root else None, root)
        return _handle(request, lambda: np.concatenate(list(out), axis), x)

    def _reduce_scatter(self, x, op, axis):
        pieces = np.stack(np.split(x, self.size, axis))
        out = np.empty(pieces.shape[1:], x.dtype)
        request = self.comm.Ireduce_scatter_block(pieces, out, OPS[op])
        return _handle(request, lambda: collectives.finished(out, op, self.size), pieces)

    def _scatter(self, x, root, axis):
        pieces = np.stack(np.split(x, self.size, axis))
        out = np.empty(pieces.shape[1:], x.dtype)
        request = self.comm.Iscatter(_bytes(pieces), _bytes(out), root)
        return _handle(request, lambda: out, pieces)

    def _all_to_all(self, x, split_axis, concat_axis):
        pieces = np.stack(np.split(x, self.size, split_axis))
        out = np.empty_like(pieces)
        request = self.comm.Ialltoall(_bytes(pieces), _bytes(out))
        return _handle(request, lambda: np.concatenate(list(out), concat_axis), pieces)

    def _all_to_all_rows(self, x, send_counts, recv_counts):
        row = x.dtype.itemsize * int(np.prod(x.shape[1:]))
        out = np.empty((sum(recv_counts), *x.shape[1:]), x.dtype)
        going = [_bytes(x), [row * n for n in send_counts], MPI.BYTE]
        coming = [_bytes(out), [row * n for n in recv_counts], MPI.BYTE]
        return _handle(self.comm.Ialltoallv(going, coming), lambda: out, x)

    def barrier(self):
        self._agree("barrier", None, None, {})
        self.comm.Barrier()

    def split(self, color, key=0):
        self._agree("split", None, None, {})
        colors = self.comm.allgather(color)
        known = sorted({colors.index(c) for c in colors if c is not None})
        place = MPI.UNDEFINED if color is None else known.index(colors.index(color))
        part = self.comm.Split(place, key)
        return None if part == MPI.COMM_NULL else MPICommunicator(part, self.made)

    def _agree(self, collective, x, algorithm, parameters):
        """Raise DistributedError on every rank where the ranks are about to call different things,
        or one has returned or failed."""
        rows = collective == "all_to_all_rows"
        told = {} if rows else {**parameters, "algorithm": algorithm}
        words = describe(collective, x[:0] if rows else x, told)
        self._compare(words, called_from()())

    def _compare(self, words, where, patience=None):
        mine = np.zeros(WORDS, np.uint8)
        text = f"{words}\0{where}".encode()[:WORDS]
        mine[: len(text)] = np.frombuffer(text, np.uint8)
        all_words = np.empty((self.size, WORDS), np.uint8)
        request = self.comm.Iallgather(mine, all_words)
        if patience is not None:
            deadline = time.monotonic() + patience
            while not request.Test():
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.01)
        request.Wait()
        told = [
            bytes(each).rstrip(b"\0").decode(errors="ignore").partition("\0") for each in all_words
        ]
        words = told[self.rank][0]  # as much of it as was compared
        for rank, (theirs, _, there) in enumerate(told):
            if theirs != words:
                raise Disagreement(
                    f"ranks do not agree: rank {self.rank} {_did(words, where)}, "
                    f"rank {rank} {_did(theirs, there)}",
                    self.size,
                )
        return True

    def _agree_on_rows(self, send_counts, recv_counts):
        table = np.array(self.comm.allgather((send_counts, recv_counts)))  # (P, 2, P)
        for source, dest in np.argwhere(table[:, 0] != table[:, 1].T):
            raise Disagreement(
                f"all_to_all_rows: rank {source} sends {table[source, 0, dest]} rows to rank "
                f"{dest}, which expects {table[dest, 1, source]}",
                self.size,
            )

    # ---------------------------------------------------------------- from one to another

    def send(self, x, dest, tag=0):
        if isinstance(x, engine.Traced):
            return ops.send(x, comm=self, dest=dest, tag=tag)
        x = self._leaving("send", x, dest)
        self.comm.Ssend(_bytes(x), dest, self._tag("send", tag))

    def recv(self, like, source, tag=0):
        if isinstance(like, engine.Traced):
            return ops.recv(like, comm=self, source=source, tag=tag)
        return self.irecv(like, source, tag).wait()

    def send_recv(self, x, dest, source, tag=0):
        if isinstance(x, engine.Traced):
            return ops.send_recv(x, comm=self, dest=dest, source=source, tag=tag)
        if self._partners(dest, source):
            return self._array("send_recv", x).copy()
        coming = self.irecv(x, source, tag)
        going = self.isend(x, dest, tag)
        arrived = coming.wait()
        going.wait()
        return arrived

    def isend(self, x, dest, tag=0):
        x = self._leaving("isend", self._untraced("isend", x), dest).copy()
        request = self.comm.Isend(_bytes(x), dest, self._tag("isend", tag))
        return _handle(request, lambda: None, x)

    def irecv(self, like, source, tag=0):
        like = self._array("irecv", engine.plain(like))
        if self._member("irecv", "source", source) == self.rank:
            raise ValueError(f"recv: source is {source}, this rank itself")
        # A byte more than expected, so that a message that is too long is seen and not cut.
        buffer = np.empty(like.nbytes + 1, np.uint8)
        request = self.comm.Irecv(buffer, source, self._tag("irecv", tag))

        def finish():
            status = MPI.Status()
            try:
                request.Wait(status)
                count = status.Get_count(MPI.BYTE)
            except MPI.Exception:
                count = None
            if count != like.nbytes:
                sent = "more bytes" if count is None else f"{count} bytes"
                raise DistributedError(
                    f"recv: rank {source} sent {sent}, rank {self.rank} expected {like.dtype} "
                    f"{like.shape}, {like.nbytes} bytes"
                )
            array = buffer[:-1].view(like.dtype).reshape(like.shape).copy()
            return backend.beside(array, like)

        return Handle(finish)

    def _leaving(self, what, x, dest):
        x = self._array(what, x)
        if self._member(what, "dest", dest) == self.rank:
            raise ValueError(f"{what}: dest is {dest}, this rank itself")
        return dense(backend.to_device(x, "cpu"))

    @property
    def clock(self):
        return MPI.Wtime()


def run(fn, size, args):
    """Call ``fn`` on the ranks that mpiexec started; the results of all of them, on each."""
    world = MPI.COMM_WORLD
    check_started("mpi", size, world.size)
    made = []
    comm = MPICommunicator(world.Dup(), made)
    try:
        state = world.bcast(backend.random_state())
        result = MPI.pickle.dumps(began_alike(fn, comm, args, state))
    except BaseException as error:
        error.add_note(f"rank {comm.rank} of {comm.size} raised this")
        if not (isinstance(error, Disagreement) and error.ranks == comm.size):
            _tell(comm, error)
        raise
    comm._compare("returned", "")
    results = [MPI.pickle.loads(each) for each in world.allgather(result)]
    for each in made:
        each.Free()
    return results


def _tell(comm, error):
    """Let the others know at their next collective that this rank failed; end the job if they do
    not come to one."""
    words = f"raised {type(error).__name__}: {error}"[: WORDS // 2]
    try:
        heard = comm._compare(words, "", PATIENCE)
    except DistributedError:
        heard = True
    if not heard:
        traceback.print_exception(error)
        print(f"minigrad: rank {comm.rank} of {comm.size} failed; the job ends", flush=True)
        MPI.COMM_WORLD.Abort(1)


def _did(words, where):
    if words.startswith("returned"):
        return "has returned"
    return words if words.startswith("raised ") else f"calls {words} at {where}"


def _adds(x, parameters):
    """Whether the library can do it: moving bytes always, combining for its own dtypes, but the
    largest of floats only if one is sure that there is no NaN."""
    if "op" not in parameters:
        return True
    ordered = parameters["op"] in ("max", "min") and x.dtype.kind == "f"
    return x.dtype.char in NATIVE and x.dtype.kind != "V" and not ordered


_USUAL = {"all_reduce": "ring", "reduce": "tree", "reduce_scatter": "ring"}


def _bytes(array):
    """An array's memory as bytes, for messages of any dtype."""
    return array.reshape(-1).view(np.uint8)


def _handle(request, result, *buffers):
    """A Handle on an MPI request; the arrays in ``buffers`` live until it is through."""

    def finish(_alive=buffers):
        request.Wait()
        return result()

    return Handle(finish)
