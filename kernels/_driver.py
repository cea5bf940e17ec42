"""Kernels on a GPU: loaded and launched by the CUDA driver, through CuPy."""

from array import array

import numpy as np
from cupy import ndarray
from cupy.cuda import driver, get_current_stream, runtime

from kernels._cubins import compiled
from kernels._host import argument

MAX_DYNAMIC_SHARED = 8  # CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
STATIC_SHARED = 1  # CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES
SHARED_OPTIN = 97  # CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR


class Binary:
    """A kernel on a device, for one tuple of argument types."""

    def __init__(self, kernel, args, device):
        name, code = compiled(kernel, args, architecture(kernel, device))
        self.module = driver.moduleLoadData(code)
        self.function = driver.moduleGetFunction(self.module, name)
        self.kernel, self.launch_kernel = kernel, driver.launchKernel
        self.most_shared = runtime.deviceGetAttribute(SHARED_OPTIN, device)
        self.static_shared = driver.funcGetAttribute(STATIC_SHARED, self.function)
        self.allowed = 48 * 1024 - self.static_shared  # dynamic bytes, until asked for more

    def allow(self, shared):
        """Let the kernel have ``shared`` bytes of dynamic shared memory. Raises ValueError."""
        if shared + self.static_shared > self.most_shared:
            raise ValueError(
                f"{self.kernel.__name__} needs {shared + self.static_shared:,} bytes of shared "
                f"memory a block; this device has {self.most_shared:,}"
            )
        driver.funcSetAttribute(self.function, MAX_DYNAMIC_SHARED, shared)
        self.allowed = shared


def architecture(kernel, device=0):
    """The newest architecture that the kernel states and the device runs. Raises ValueError."""
    capability = tuple(runtime.deviceGetAttribute(each, device) for each in (MAJOR, MINOR))
    fits = [
        cc for cc in kernel.archs if cc[:2] <= capability and (len(cc) == 2 or cc[:2] == capability)
    ]
    if not fits:
        raise ValueError(
            f"{kernel.__name__} is written for compute capability "
            f"{' or '.join('.'.join(map(str, cc[:2])) for cc in kernel.archs)}; this device has "
            f"{'.'.join(map(str, capability))}"
        )
    best = max(fits, key=lambda cc: cc[:2])
    return best if len(best) == 3 else capability


def launch(launch, args):
    """Launch on the GPU that holds the arrays."""
    kernel = launch.kernel
    device = runtime.getDevice()
    key, values = [device], []
    for i, arg in enumerate(args):
        if isinstance(arg, ndarray):
            pointer = arg.data.ptr
            if arg.data.device_id != device:
                raise ValueError(
                    f"{kernel.__name__}: {kernel.takes[i]} is on GPU {arg.data.device_id}, the "
                    f"launch on GPU {device}"
                )
            if pointer % arg.itemsize:
                raise ValueError(f"{kernel.__name__}: {kernel.takes[i]} is not aligned")
            key.append((arg.dtype, arg.ndim, arg.flags.c_contiguous))
            # As Numba's kernels take an array: two unused pointers, sizes, address, shape, strides.
            values += (0, 0, arg.size, arg.itemsize, pointer, *arg.shape, *arg.strides)
        elif type(arg) is int and -(2**63) <= arg < 2**63:
            key.append(int)
            values.append(arg)
        else:
            if not isinstance(arg, np.generic):  # of which each dtype is looked at once, below
                arg = argument(f"{kernel.__name__}: {kernel.takes[i]}", arg)
            key.append(getattr(arg, "dtype", type(arg)))
            values.append(_bits(arg))
    key = tuple(key)
    binary = kernel.binaries.get(key)
    if binary is None:
        for name, arg in zip(kernel.takes, args):
            if isinstance(arg, np.generic):
                argument(f"{kernel.__name__}: {name}", arg)
        binary = kernel.binaries[key] = Binary(kernel, args, device)
    if launch.shared > binary.allowed:
        binary.allow(launch.shared)
    values = array("q", values)
    first, count = values.buffer_info()
    pointers = array("q", range(first, first + 8 * count, 8))
    stream = launch.stream or get_current_stream()
    binary.launch_kernel(
        binary.function,
        *launch.grid,
        *launch.block,
        launch.shared,
        stream.ptr,
        pointers.buffer_info()[0],
        0,
    )


def _bits(number):
    """The bits of a NumPy number, or of a bool, in the 8 bytes of a parameter, as an integer."""
    if isinstance(number, int):
        return int(number)
    return int.from_bytes(number.tobytes(), "little", signed=number.itemsize == 8)
