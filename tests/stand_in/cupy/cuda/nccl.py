"""NCCL's calls, on pointers, by MPI."""

import collections
import ctypes
import itertools

import numpy as np
from mpi4py import MPI

from cupy import cuda

NAMES = ["INT8", "UINT8", "INT32", "UINT32", "INT64", "UINT64", "FLOAT16", "FLOAT32", "FLOAT64"]
DTYPES = [np.dtype(name.lower()) for name in NAMES]
globals().update({f"NCCL_{name}": number for number, name in enumerate(NAMES)})
OPS = [MPI.SUM, MPI.PROD, MPI.MAX, MPI.MIN]
NCCL_SUM, NCCL_PROD, NCCL_MAX, NCCL_MIN = range(4)

_drawn = itertools.count()
_group = None  # messages of the group that is open


def get_unique_id():
    """128 bytes: who drew it, and its how manyth it is."""
    return bytes([MPI.COMM_WORLD.rank, next(_drawn) % 256]).ljust(128, b"\xfe")


def groupStart():
    global _group
    _group = []


def groupEnd():
    """The messages of the group, those with one peer after each other, as in NCCL's kernels."""
    global _group
    number = collections.Counter()
    turns = collections.defaultdict(list)
    for key, begin in _group:
        turns[number[key]].append(begin)
        number[key] += 1
    _group = None
    for turn in sorted(turns):
        MPI.Request.Waitall([begin() for begin in turns[turn]])


def _message(key, begin, stream):
    """Keep it for the end of the group, or send it on its way. A message in a group holds up what
    comes after it, and one that is alone the stream, until it is taken: so ``Issend``."""
    if _group is not None:
        _group.append((key, begin))
    else:
        cuda.streams[stream].requests.append(begin())


def _at(pointer, count, dtype):
    dtype = DTYPES[dtype]
    if not count:
        return np.empty(0, dtype)
    return np.frombuffer((ctypes.c_char * (count * dtype.itemsize)).from_address(pointer), dtype)


def _met(size, identity, rank):
    """The MPI communicator of the processes that name an identity: who drew it tells them who
    they are, in the order of their ranks."""
    world, maker, tag = MPI.COMM_WORLD, identity[0], 1000 + identity[1]
    if world.rank != maker:
        world.send((rank, world.rank), maker, tag)
        order = world.recv(source=maker, tag=tag + 1000)
    else:
        who = {rank: world.rank}
        while len(who) < size:
            who.update([world.recv(source=MPI.ANY_SOURCE, tag=tag)])
        order = [who[each] for each in range(size)]
        for each in set(order) - {maker}:
            world.send(order, each, tag + 1000)
    return world.Create_group(world.Get_group().Incl(order), tag)


class NcclCommunicator:
    def __init__(self, ndev, commId, rank):
        if type(commId) is not bytes or len(commId) != 128:
            raise TypeError("commId has incorrect type")
        self.comm = _met(ndev, commId, rank)

    def destroy(self):
        pass

    def allReduce(self, sendbuf, recvbuf, count, datatype, op, stream):
        self.comm.Allreduce(_at(sendbuf, count, datatype), _at(recvbuf, count, datatype), OPS[op])

    def reduce(self, sendbuf, recvbuf, count, datatype, op, root, stream):
        ends = _at(sendbuf, count, datatype), _at(recvbuf, count, datatype)
        self.comm.Reduce(*ends, OPS[op], root)

    def broadcast(self, sendbuf, recvbuf, count, datatype, root, stream):
        out = _at(recvbuf, count, datatype)
        if self.comm.rank == root:
            out[...] = _at(sendbuf, count, datatype)
        self.comm.Bcast(out, root)

    def allGather(self, sendbuf, recvbuf, count, datatype, stream):
        whole = _at(recvbuf, count * self.comm.size, datatype)
        self.comm.Allgather(_at(sendbuf, count, datatype), whole)

    def reduceScatter(self, sendbuf, recvbuf, recvcount, datatype, op, stream):
        whole = _at(sendbuf, recvcount * self.comm.size, datatype)
        self.comm.Reduce_scatter_block(whole, _at(recvbuf, recvcount, datatype), OPS[op])

    def send(self, sendbuf, count, datatype, peer, stream):
        _message(
            ("to", peer), lambda: self.comm.Issend(_at(sendbuf, count, datatype), peer), stream
        )

    def recv(self, recvbuf, count, datatype, peer, stream):
        _message(
            ("from", peer), lambda: self.comm.Irecv(_at(recvbuf, count, datatype), peer), stream
        )
