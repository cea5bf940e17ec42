"""What some GPUs have, from their makers' papers, and how many threads find room on one."""

from typing import NamedTuple


class Device(NamedTuple):
    """A GPU: numbers of the whole card, and below ``sms`` of one multiprocessor (SM).

    float32 and float16: FLOP/s, the latter on tensor cores without sparsity; bandwidth: of its
    memory, bytes/s; memory, cache: bytes of memory and of the L2 cache; clock: Hz; sms: how many.
    threads, blocks, registers (of 4 bytes), shared (bytes): what an SM can hold at a time.
    """

    name: str
    float32: float
    float16: float
    bandwidth: float
    memory: int
    cache: int
    clock: float
    sms: int
    threads: int = 2048
    blocks: int = 32
    registers: int = 65536
    shared: int = 228 << 10

    @property
    def shared_bandwidth(self):
        """Bytes/s of all shared memory together: 32 banks of 4 bytes a clock, in each SM."""
        return self.sms * 32 * 4 * self.clock


#: NVIDIA A100 and H100 Tensor Core GPU Architecture (white papers, 2020 and 2022), SXM cards
A100 = Device("A100", 19.5e12, 312e12, 2.04e12, 80 << 30, 40 << 20, 1.41e9, 108, shared=164 << 10)
H100 = Device("H100", 66.9e12, 989e12, 3.35e12, 80 << 30, 50 << 20, 1.98e9, 132)

WARP = 32
REGISTERS_AT_ONCE = 256  # that a warp is given
RESERVED = 1 << 10  # bytes of shared memory that each block takes for the system


def occupancy(device, threads, registers, shared=0):
    """How many blocks of a kernel one multiprocessor has room for at a time.

    Arguments: device: a Device; threads: of a block; registers: of a thread; shared: bytes of a
    block. A warp takes its registers by 256, and each block 1 KB of shared memory besides.
    Returns (blocks, share of the threads that an SM can hold). Raises ValueError for sizes below 1.

    >>> occupancy(H100, 256, 64)
    (4, 0.5)
    """
    if threads < 1 or registers < 1 or shared < 0:
        raise ValueError(f"occupancy: {threads} threads, {registers} registers, {shared} bytes")
    warps = -(-threads // WARP)
    of_a_warp = -(-WARP * registers // REGISTERS_AT_ONCE) * REGISTERS_AT_ONCE
    limits = (
        device.blocks,
        device.threads // (warps * WARP),
        device.registers // (warps * of_a_warp),
        device.shared // (shared + RESERVED),
    )
    blocks = min(limits)
    return blocks, blocks * warps * WARP / device.threads
