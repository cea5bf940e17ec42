"""The NCCL engine: one process a GPU, arrays in its memory, through CuPy.

Started by `minigrad launch -n N --engine nccl script.py`: rank r has GPU r. Calls are put on
CuPy's current stream, and return before the GPU has done them, as all of CuPy's do; with
``async_op=True`` they go to a stream of their own, which the current one waits for in ``wait()``.
NumPy arrays travel by way of the GPU. Nothing is compared before a call: ranks that disagree wait
for each other, until `minigrad launch` is stopped; try a script on the simulated engine first.

NCCL knows no tags: between two ranks, messages are received in the order in which they were sent,
whichever group they were sent in; ``nccl_messages`` says how they travel.
"""

import atexit
import functools
import os
import pickle
import time
import traceback

import numpy as np

from minigrad import backend, engine
from minigrad.distributed import collectives, ops
from minigrad.distributed.communicator import Communicator, Handle, dense
from minigrad.distributed.running import began_alike, check_started

try:
    import cupy
    from cupy.cuda import nccl

    from minigrad.distributed.nccl_messages import Outbox, hold
except ImportError as error:
    raise ImportError(
        "run: engine 'nccl' needs CuPy and NCCL: pip install 'cupy-cuda12x[ctk]' nvidia-nccl-cu12; "
        "start the script with `minigrad launch -n 2 --engine nccl script.py`"
    ) from error

DTYPES = {
    np.dtype(np.int8): nccl.NCCL_INT8,
    np.dtype(np.uint8): nccl.NCCL_UINT8,
    np.dtype(np.int32): nccl.NCCL_INT32,
    np.dtype(np.uint32): nccl.NCCL_UINT32,
    np.dtype(np.int64): nccl.NCCL_INT64,
    np.dtype(np.uint64): nccl.NCCL_UINT64,
    np.dtype(np.float16): nccl.NCCL_FLOAT16,
    np.dtype(np.float32): nccl.NCCL_FLOAT32,
    np.dtype(np.float64): nccl.NCCL_FLOAT64,
    backend.bfloat16: getattr(nccl, "NCCL_BFLOAT16", 9),  # which not every CuPy names
}
OPS = {
    "sum": nccl.NCCL_SUM,
    "mean": nccl.NCCL_SUM,
    "prod": nccl.NCCL_PROD,
    "max": nccl.NCCL_MAX,
    "min": nccl.NCCL_MIN,
}


LINKS = []  # of all groups. To free one may wait for its other ranks: all do so as they end.


@atexit.register
def _free():
    while LINKS:
        LINKS.pop().destroy()


class Endpoint:
    """Point-to-point messages for the algorithms that are ours; see ``algorithms``."""

    def __init__(self, comm):
        self.comm, self.rank, self.size = comm, comm.rank, comm.size

    def send(self, array, to):
        self.comm._exchange([(to, array)], [])

    def recv(self, like, source):
        out = cupy.empty(like.shape, like.dtype)
        self.comm._exchange([], [(source, out)])
        return out

    def send_recv(self, array, to, like, source):
        out = cupy.empty(like.shape, like.dtype)
        self.comm._exchange([(to, array)], [(source, out)])
        return out


class NCCLCommunicator(Communicator):
    """See ``Communicator``. ``link``: CuPy's; ``places``: the members' ranks in the job; outboxes:
    of all of the job's ranks."""

    engine = "nccl"

    def __init__(self, link, rank, places, outboxes=()):
        self.link, self.rank, self.size = link, rank, len(places)
        self.places, self.outboxes = places, outboxes
        self.endpoint = Endpoint(self)
        self.gpu = cupy.cuda.Device().id
        self.side = cupy.cuda.Stream(non_blocking=True)  # for calls that overlap with work
        self.held = []  # what they work on
        # Two ranks are connected when they first speak, and then both must send and receive.
        others = [other for other in range(self.size) if other != rank]
        byte = cupy.zeros((2, self.size), np.uint8)
        self._exchange(*([(other, row[other : other + 1]) for other in others] for row in byte))

    # ---------------------------------------------------------------- collectives

    def _begin(self, collective, x, algorithm, parameters, async_op):
        host = backend.array_module(x) is np
        x = dense(self._here(collective, x))
        native = algorithm is None and (collective == "all_to_all_rows" or _knows(x, parameters))
        if native:
            work = functools.partial(getattr(self, f"_{collective}"), x, **parameters)
        else:
            function = getattr(collectives, collective)
            algorithm = algorithm or "direct"
            work = functools.partial(function, self.endpoint, x, algorithm, **parameters)
        if async_op:
            return self._beside(work, x, host)
        out = work()
        return cupy.asnumpy(out) if host else out

    def _beside(self, work, x, host):
        """Do something on the side stream, after all that the current one has been given."""
        current = cupy.cuda.get_current_stream()
        self.side.wait_event(current.record())
        with self.side:
            out = work()
            done = self.side.record()
        hold(self.held, done, x)

        def finish():
            cupy.cuda.get_current_stream().wait_event(done)
            return cupy.asnumpy(out) if host else out

        return Handle(finish)

    def _all_reduce(self, x, op):
        out = cupy.empty_like(x)
        self.link.allReduce(*_ends(x, out), x.size, _dtype(x), OPS[op], _stream())
        return collectives.finished(out, op, self.size)

    def _reduce(self, x, op, root):
        out = cupy.zeros_like(x)
        self.link.reduce(*_ends(x, out), x.size, _dtype(x), OPS[op], root, _stream())
        return collectives.finished(out, op, self.size) if self.rank == root else cupy.zeros_like(x)

    def _broadcast(self, x, root):
        out = cupy.empty_like(x)
        self.link.broadcast(*_ends(x, out), x.nbytes, nccl.NCCL_UINT8, root, _stream())
        return out

    def _all_gather(self, x, axis):
        out = cupy.empty((self.size, *x.shape), x.dtype)
        self.link.allGather(*_ends(x, out), x.nbytes, nccl.NCCL_UINT8, _stream())
        return _joined(out, axis)

    def _reduce_scatter(self, x, op, axis):
        pieces = _pieces(x, self.size, axis)
        out = cupy.empty(pieces.shape[1:], x.dtype)
        self.link.reduceScatter(*_ends(pieces, out), out.size, _dtype(x), OPS[op], _stream())
        return collectives.finished(out, op, self.size)

    def _scatter(self, x, root, axis):
        pieces = _pieces(x, self.size, axis)
        out = cupy.empty(pieces.shape[1:], x.dtype)
        going = list(enumerate(pieces)) if self.rank == root else []
        self._exchange(going, [(root, out)])
        return out

    def _gather(self, x, root, axis):
        out = cupy.zeros((self.size, *x.shape), x.dtype)
        self._exchange([(root, x)], list(enumerate(out)) if self.rank == root else [])
        return _joined(out, axis)

    def _all_to_all(self, x, split_axis, concat_axis):
        pieces = _pieces(x, self.size, split_axis)
        out = cupy.empty_like(pieces)
        self._exchange(list(enumerate(pieces)), list(enumerate(out)))
        return _joined(out, concat_axis)

    def _all_to_all_rows(self, x, send_counts, recv_counts):
        out = cupy.empty((sum(recv_counts), *x.shape[1:]), x.dtype)
        going = cupy.split(x, np.cumsum(send_counts)[:-1].tolist())
        coming = cupy.split(out, np.cumsum(recv_counts)[:-1].tolist())
        self._exchange(list(enumerate(going)), list(enumerate(coming)))
        return out

    def _exchange(self, going, coming):
        """Messages to and from ranks, all at once: lists of (rank, array)."""
        stream = _stream()
        going = [(to, dense(array)) for to, array in going]
        own = [array for to, array in going if to == self.rank]
        nccl.groupStart()
        for to, array in going:
            if array.nbytes and to != self.rank:
                self.link.send(array.data.ptr, array.nbytes, nccl.NCCL_UINT8, to, stream)
        for source, array in coming:
            if source == self.rank:
                array[...] = own.pop(0)
            elif array.nbytes:
                self.link.recv(array.data.ptr, array.nbytes, nccl.NCCL_UINT8, source, stream)
        nccl.groupEnd()

    def barrier(self):
        self._all_reduce(cupy.zeros(1, np.int32), "sum")
        cupy.cuda.get_current_stream().synchronize()

    def split(self, color, key=0):
        told = self._objects((color, key))
        mine = sorted((k, rank) for rank, (c, k) in enumerate(told) if c == color)
        order = [rank for _, rank in mine]
        first = color is not None and order[0] == self.rank
        identities = self._objects(identity() if first else None)
        if color is None:
            return None
        own, places = order.index(self.rank), [self.places[rank] for rank in order]
        link = _linked(identities[order[0]], own, len(order))
        return NCCLCommunicator(link, own, places, self.outboxes)

    def _objects(self, value):
        """[a Python value of each rank], for ranks of one job."""
        mine = np.frombuffer(pickle.dumps(value), np.uint8)
        sizes = cupy.asnumpy(self._all_gather(cupy.array([mine.size]), 0))
        padded = cupy.zeros(int(sizes.max()), np.uint8)
        padded[: mine.size] = cupy.asarray(mine)
        every = cupy.asnumpy(self._all_gather(padded[None], 0))
        return [pickle.loads(row[:size].tobytes()) for row, size in zip(every, sizes)]

    # ---------------------------------------------------------------- from one to another

    def send(self, x, dest, tag=0):
        if isinstance(x, engine.Traced):
            return ops.send(x, comm=self, dest=dest, tag=tag)
        return self.isend(x, dest, tag).wait()

    def recv(self, like, source, tag=0):
        if isinstance(like, engine.Traced):
            return ops.recv(like, comm=self, source=source, tag=tag)
        return self.irecv(like, source, tag).wait()

    def send_recv(self, x, dest, source, tag=0):
        if isinstance(x, engine.Traced):
            return ops.send_recv(x, comm=self, dest=dest, source=source, tag=tag)
        if self._partners(dest, source):
            return self._array("send_recv", x).copy()
        mine = self._here("send_recv", x)
        out = cupy.empty(mine.shape, mine.dtype)
        self._exchange([(dest, mine)], [(source, out)])
        return backend.beside(out, x)

    def isend(self, x, dest, tag=0):
        x = self._here("isend", self._untraced("isend", x))
        to = self.places[self._other("isend", "dest", dest)]
        gone = self.outboxes[self.places[self.rank]].send(x.copy(order="C"), to)
        return Handle(lambda: cupy.cuda.get_current_stream().wait_event(gone))

    def irecv(self, like, source, tag=0):
        like = self._array("irecv", engine.plain(like))
        place = self.places[self._other("irecv", "source", source)]
        out = cupy.empty(like.shape, like.dtype)
        arrived = self.outboxes[place].recv(out, place)

        def finish():
            cupy.cuda.get_current_stream().wait_event(arrived)
            return backend.beside(out, like)

        return Handle(finish)

    def _other(self, what, name, rank):
        if self._member(what, name, rank) == self.rank:
            raise ValueError(f"{what}: {name} is {rank}, this rank itself")
        return rank

    def _here(self, what, x):
        """x on this rank's GPU. Raises ValueError for an array on another one."""
        x = self._array(what, x)
        if backend.array_module(x) is np:
            return cupy.asarray(x)
        if x.data.device_id != self.gpu:
            raise ValueError(
                f"{what}: rank {self.rank} gave an array on GPU {x.data.device_id}; its own is GPU "
                f"{self.gpu}"
            )
        return x

    @property
    def clock(self):
        cupy.cuda.get_current_stream().synchronize()
        return time.perf_counter()


@functools.cache
def world():
    """This process's communicator of all ranks of the job."""
    rank, size, told = _told()
    cupy.cuda.Device(rank % cupy.cuda.runtime.getDeviceCount()).use()
    comm = NCCLCommunicator(_linked(told, rank, size), rank, list(range(size)))
    comm.outboxes = [
        Outbox(_linked(drawn, rank, size), sender, rank, size)
        for sender, drawn in enumerate(comm._objects(identity()))
    ]
    return comm


def identity():
    """A new group's identity: bytes, for all of its ranks."""
    return bytes(byte % 256 for byte in nccl.get_unique_id())


def _linked(identity, rank, size):
    """CuPy's NcclCommunicator, once all ranks of the group have come here."""
    try:
        link = nccl.NcclCommunicator(size, identity, rank)
    except TypeError:  # before CuPy 14: as the signed characters of C
        signed = tuple(byte - 256 if byte > 127 else byte for byte in identity)
        link = nccl.NcclCommunicator(size, signed, rank)
    LINKS.append(link)
    return link


def _told():
    """(rank, size, the job's identity), from `minigrad launch` or from mpiexec."""
    if "MINIGRAD_NCCL_ID" in os.environ:
        told = bytes.fromhex(os.environ["MINIGRAD_NCCL_ID"])
        return int(os.environ["MINIGRAD_RANK"]), int(os.environ["MINIGRAD_SIZE"]), told
    try:
        from mpi4py import MPI
    except ImportError as error:
        raise ImportError(
            "run: engine 'nccl' is started by `minigrad launch -n 2 --engine nccl script.py` (or, "
            "with mpi4py, by mpiexec)"
        ) from error
    comm = MPI.COMM_WORLD
    return comm.rank, comm.size, comm.bcast(identity() if comm.rank == 0 else None)


def run(fn, size, args):
    """Call ``fn`` on the ranks that were started; the results of all of them, on each."""
    comm = world()
    check_started("nccl", size, comm.size)
    try:
        state = comm._objects(backend.random_state())[0]
        result = began_alike(fn, comm, args, state)
        cupy.cuda.get_current_stream().synchronize()
        told = comm._objects(_on_host(result))
    except BaseException as error:
        # The others may be inside a kernel that waits for this rank: `minigrad launch` ends them.
        traceback.print_exception(error)
        print(f"minigrad: rank {comm.rank} of {comm.size} failed", flush=True)
        os._exit(1)
    return told


def _on_host(value):
    """A result with its GPU arrays on the CPU."""
    if isinstance(value, dict):
        return {key: _on_host(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_host(each) for each in value)
    return cupy.asnumpy(value) if isinstance(value, cupy.ndarray) else value


def _knows(x, parameters):
    """Whether NCCL can do it: moving bytes always, combining for its own dtypes."""
    return "op" not in parameters or x.dtype in DTYPES


def _dtype(x):
    return DTYPES[x.dtype]


def _stream():
    return cupy.cuda.get_current_stream().ptr


def _ends(x, out):
    return x.data.ptr, out.data.ptr


def _pieces(x, size, axis):
    """(…, P·n, …) -> (P, …, n, …), in one piece of memory."""
    return cupy.stack(cupy.split(x, size, axis))


def _joined(pieces, axis):
    """(P, …, n, …) -> (…, P·n, …)."""
    return cupy.concatenate(list(pieces), axis)
