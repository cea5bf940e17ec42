"""What a rung of a ladder is: one kernel, the idea that it adds to the one before, and what that
should gain. The ladders are in matmul.py and others; bench.py measures them."""

from collections.abc import Callable
from dataclasses import dataclass


def of_whole_tiles(launch, BM, BN, BK):
    """A product's launch that raises ValueError unless M, N and K are multiples of its tile's."""

    def checked(a, b, c):
        (M, K), N = a.shape, b.shape[1]
        if M % BM or N % BN or K % BK:
            raise ValueError(f"M, N, K = {M}, {N}, {K}; expected multiples of {BM}, {BN}, {BK}")
        launch(a, b, c)

    return checked


@dataclass(frozen=True)
class Rung:
    """One rung.

    name: what it is called in tables; idea: what it adds, in a sentence; gain: how many times
    faster than the rung before it should be, said before it was measured; because: where that
    number comes from; launch: the host function, which takes the inputs and then the output, all
    arrays, and fills the output (attention's takes more: see there); dtypes: names of the input
    dtypes that it takes; multiple: sizes of which the problem's must be multiples.

    Two formulas, where bytes can be told exactly for such sizes: global_bytes(*sizes) gives (read,
    written) of global memory and shared_bytes(*sizes) the same of shared memory, counted as each
    thread asks for them, in a kernel on float32.
    """

    name: str
    idea: str
    gain: float
    because: str
    launch: Callable
    dtypes: tuple = ("float32",)
    multiple: tuple = ()
    global_bytes: Callable | None = None
    shared_bytes: Callable | None = None
