"""Messages from one rank to another on NCCL, whatever else the two do meanwhile.

NCCL keeps no messages: one that nobody takes yet holds up all that comes after it on the same
communicator. So each rank of the job sends on a communicator of its own, which all ranks have, and
on a stream beside the others. What a message holds up are later ones of the same sender alone.

It holds up one thing more: a kernel that CuPy runs for the first time is loaded, for which the GPU
may finish what it has. If all ranks begin to receive, then compute what they will send by a kernel
that is new, and send it, they wait for each other for ever: compute first.
"""

import cupy
import numpy as np
from cupy.cuda import nccl


def hold(held, done, array):
    """Keep an array in memory that a stream beside the current one works on, until the event
    ``done``, in the list ``held`` of such (event, array); those that are done with are let go."""
    held[:] = [(event, each) for event, each in held if not event.done]
    held.append((done, array))


class Outbox:
    """What one rank of the job sends, seen from any of them: ``link`` is CuPy's NcclCommunicator.

    All ranks make the outbox of a rank at the same time: two are connected when they first speak,
    for which both must be there.
    """

    def __init__(self, link, sender, rank, size):
        self.link, self.stream = link, cupy.cuda.Stream(non_blocking=True)
        self.held = []
        others = [other for other in range(size) if other != rank] if rank == sender else [sender]
        byte = cupy.zeros(1, np.uint8)
        nccl.groupStart()
        for other in others:
            call = link.send if rank == sender else link.recv
            call(byte.data.ptr, 1, nccl.NCCL_UINT8, other, self.stream.ptr)
        nccl.groupEnd()
        self.stream.synchronize()

    def send(self, array, dest):
        """Begin to send an array, dense and not changed later; the event of its having gone."""
        return self._begin(self.link.send, array, dest)

    def recv(self, array, source):
        """Begin to receive into an array; the event of its being there."""
        return self._begin(self.link.recv, array, source)

    def _begin(self, call, array, other):
        self.stream.wait_event(cupy.cuda.get_current_stream().record())
        if array.nbytes:
            call(array.data.ptr, array.nbytes, nccl.NCCL_UINT8, other, self.stream.ptr)
        done = self.stream.record()
        hold(self.held, done, array)
        return done
