"""A stand-in for CuPy where there is no GPU: NumPy's arrays, and MPI in the place of NCCL.

It has what ``minigrad.distributed.nccl`` calls and nothing else, so that the engine's logic
(groups, pairing of messages, shapes) runs in CI. Speed, streams and NCCL itself need real GPUs.
"""

import types

import numpy as np

from . import cuda


class ndarray(np.ndarray):
    """An array with a pointer and a device, as CuPy's have."""

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.ctypes.data)

    @property
    def device(self):
        return cuda.Device()


def _made_by(function):
    return lambda *args, **options: np.asarray(function(*args, **options)).view(ndarray)


array, asarray = _made_by(np.array), _made_by(np.asarray)
empty, zeros = _made_by(np.empty), _made_by(np.zeros)
empty_like, zeros_like = _made_by(np.empty_like), _made_by(np.zeros_like)
stack, concatenate = _made_by(np.stack), _made_by(np.concatenate)


def split(x, sections, axis=0):
    return [piece.view(ndarray) for piece in np.split(x, sections, axis)]


def asnumpy(x):
    return np.array(np.asarray(x).view(np.ndarray))
