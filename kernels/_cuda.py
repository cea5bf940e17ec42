"""The only door to CUDA: kernels take every name from here, and run in two worlds.

    from kernels import cuda

    @cuda.jit
    def add(x, y, out):
        i = cuda.grid(1)
        if i < out.size:
            out[i] = x[i] + y[i]

    add[4, 32](x, y, out)

Launched on CuPy arrays, ``add`` is compiled by Numba-CUDA and runs on the GPU. Launched on NumPy
arrays, the same Python runs on the simulator, where the names below are what they seem to be. How
the compiler's copy of a kernel differs from its text is told in _lower.py.

The language is Numba-CUDA's, narrowed so that both worlds agree: numbers in the text and Python
floats among the arguments are float32, integers among the arguments int64; an index is never
negative; arrays are C-contiguous where ptx.py's instructions touch them. One difference is left: an
integer of 32 bits or fewer from an array, together with one from the text, is computed in 64 bits
on the GPU and as narrow as it is on the simulator (which an int(…) around it makes wide, too).
"""

import inspect
import sys
from types import FunctionType

import numpy as np

from kernels._host import argument, integer
from kernels.sim import api, machine
from kernels.sim.api import (  # noqa: F401
    all_sync,
    any_sync,
    atomic,
    ballot_sync,
    blockDim,
    blockIdx,
    grid,
    gridDim,
    gridsize,
    local,
    shared,
    shfl_down_sync,
    shfl_sync,
    shfl_up_sync,
    shfl_xor_sync,
    syncthreads,
    syncthreads_and,
    syncthreads_count,
    syncthreads_or,
    syncwarp,
    threadIdx,
    unroll,
    warpsize,
)
from kernels.sim.arrays import arguments

STARRED = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS
SM80, SM90, SM90A = (8, 0), (9, 0), (9, 0, "a")


def __getattr__(name):
    if name == "laneid":
        return api.laneid
    raise AttributeError(f"kernels.cuda has no {name!r}")


class Kernel:
    """A function for the GPU.

    ``kernel[grid, block](*args)`` launches it on CuPy arrays (a GPU) or NumPy arrays (the
    simulator); ``kernel[grid, block, stream, shared]`` also names a CuPy stream and the bytes of
    dynamic shared memory. ``archs`` are the compute capabilities that it is written for.
    ``local_memory``: its local arrays do not all fit into registers, and it is known.
    """

    def __init__(
        self, function, archs=(SM80, SM90), fastmath=True, launch_bounds=None, local_memory=False
    ):
        if not isinstance(function, FunctionType) or function.__code__.co_flags & STARRED:
            raise TypeError(f"cuda.jit: {function!r} is no function of so many arguments")
        self.function, self.archs, self.local_memory = function, archs, local_memory
        self.fastmath, self.launch_bounds = fastmath, launch_bounds
        bounds = launch_bounds if isinstance(launch_bounds, tuple) else (launch_bounds,)
        if launch_bounds is not None:
            bounds = [integer("launch_bounds", bound, 1) for bound in bounds or (None,)]
        self.most_threads = bounds[0] or machine.MOST_THREADS  # of a block
        self.__name__, self.__doc__, self.__module__ = (
            function.__name__,
            function.__doc__,
            function.__module__,
        )
        code = function.__code__
        self.takes = code.co_varnames[: code.co_argcount]
        self.binaries = {}  # what _driver.launch has loaded

    def __getitem__(self, configuration):
        if not isinstance(configuration, tuple) or not 2 <= len(configuration) <= 4:
            raise ValueError(f"{self.__name__}: launch it as {self.__name__}[grid, block](…)")
        return Launch(self, *configuration)

    def __call__(self, *args):
        raise TypeError(
            f"{self.__name__} is a kernel: launch it as {self.__name__}[grid, block](…)"
        )


class Launch:
    """A kernel with the size of its grid."""

    def __init__(self, kernel, blocks, threads, stream=None, dynamic=0):
        self.kernel, self.stream = kernel, stream
        self.shared = integer("dynamic shared memory", dynamic)
        self.grid, self.block = machine.sizes(blocks, threads, self.shared, kernel.most_threads)

    def __call__(self, *args):
        takes = self.kernel.takes
        if len(args) != len(takes):
            raise TypeError(
                f"{self.kernel.__name__} takes {len(takes)} arguments ({', '.join(takes)}), "
                f"got {len(args)}"
            )
        if any(hasattr(arg, "__cuda_array_interface__") for arg in args):
            for name, arg in zip(takes, args):
                if isinstance(arg, np.ndarray):
                    raise TypeError(
                        f"{self.kernel.__name__}: {name} is a NumPy array among CuPy arrays"
                    )
            if "cupy" not in sys.modules:  # who has a CuPy array has imported it
                raise TypeError(f"{self.kernel.__name__} takes NumPy or CuPy arrays, no others")
            from kernels import _driver

            return _driver.launch(self, args)
        run = observers[-1] if observers else simulate
        run(self, simulated(self, args))


observers = []  # what takes the launches on the simulator instead of ``simulate``; see watch.py


def simulate(launch, args, watcher=None, function=None):
    """Run a launch on the simulator, its kernel's function or another in its place."""
    function = function or launch.kernel.function
    args = arguments(launch.kernel.takes, args, watcher)
    machine.launch(function, launch.grid, launch.block, args, launch.shared, watcher)


def simulated(launch, args):
    """Arguments as a kernel gets them: floats rounded to float32, what is no number refused."""
    if machine.state.thread is not None:
        raise RuntimeError("a kernel cannot launch a kernel")
    kernel = launch.kernel
    return [argument(f"{kernel.__name__}: {name}", arg) for name, arg in zip(kernel.takes, args)]


def jit(function=None, *, device=False, **options):
    """Decorator: make a function a Kernel, or with device=True one that kernels call.

    archs: compute capabilities it is written for, (8, 0) and (9, 0) unless told; fastmath: let the
    compiler use approximate division and square roots and flush denormals (as here by default);
    launch_bounds: the most threads of a block, or (those, the fewest blocks that a multiprocessor
    should have room for), which decides how many registers a thread may have; local_memory: True
    for a kernel that keeps arrays in local memory, as no fast one should (a test looks).
    """
    if function is None:
        return lambda function: jit(function, device=device, **options)
    if device:
        function.device_function = True
        return function
    return Kernel(function, **options)
