"""A communicator: what a rank knows of the others, and how it speaks with them."""

import contextlib
import functools
import operator

import numpy as np

from minigrad import backend, engine
from minigrad.distributed import collectives
from minigrad.distributed.algorithms import CHOICES

NEEDS_SHARES = {"reduce_scatter": "axis", "scatter": "axis", "all_to_all": "split_axis"}


class Handle:
    """Something under way. ``wait()`` gives its result, once it is there."""

    def __init__(self, finish):
        self._finish, self._done, self._result = finish, False, None

    def wait(self):
        """Wait for the result: an array, or None for what was sent."""
        if not self._done:
            self._result, self._done = self._finish(), True
            self._finish = None  # and what it held
        return self._result

    def __getattr__(self, name):
        raise AttributeError(f"a Handle has no {name}: wait() gives the array")

    def __getitem__(self, place):
        raise TypeError("a Handle is something under way: wait() gives the array")


class Communicator:
    """The ranks of a group, seen from one of them: ``rank``, from 0 to ``size`` − 1.

    Every rank of the group makes the same calls in the same order, with x of the same shape and
    dtype; where a rank's numbers are not used (all but the root's in a broadcast), any array of
    that shape will do. x is an array, which gives an array, or a Tensor, through which derivatives
    flow (``ops`` says how). Results are the caller's own; x is never changed.

    ``op`` is "sum", "mean", "prod", "max" or "min". ``algorithm`` names one of
    ``algorithms.CHOICES``; None takes the engine's own choice. With ``async_op=True`` a call
    returns a Handle at once, and what the rank does until ``wait()`` overlaps with it (for arrays;
    it has no derivative; x must stay as it is until then).

    Raises ValueError for roots, axes and shares that do not fit, TypeError for what is no numeric
    array, DistributedError where ranks do not agree or one of them has failed.
    """

    engine = "none"
    rank = 0
    size = 1

    # ---------------------------------------------------------------- the eight collectives

    def all_reduce(self, x, op="sum", *, algorithm=None, async_op=False):
        """(…) -> (…): what all ranks' x make together, on every rank."""
        return self._call("all_reduce", x, algorithm, async_op, op=op)

    def broadcast(self, x, root=0, *, algorithm=None, async_op=False):
        """(…) -> (…): the root's x, on every rank."""
        return self._call("broadcast", x, algorithm, async_op, root=root)

    def reduce(self, x, op="sum", root=0, *, algorithm=None, async_op=False):
        """(…) -> (…): what all ranks' x make together, on the root; zeros elsewhere."""
        return self._call("reduce", x, algorithm, async_op, op=op, root=root)

    def all_gather(self, x, axis=0, *, algorithm=None, async_op=False):
        """(…, n, …) -> (…, P·n, …): all ranks' x, one after the other along an axis."""
        return self._call("all_gather", x, algorithm, async_op, axis=axis)

    def scatter(self, x, root=0, axis=0, *, algorithm=None, async_op=False):
        """(…, P·n, …) -> (…, n, …): rank r gets share r of the root's x."""
        return self._call("scatter", x, algorithm, async_op, root=root, axis=axis)

    def gather(self, x, root=0, axis=0, *, algorithm=None, async_op=False):
        """(…, n, …) -> (…, P·n, …): all ranks' x on the root; zeros elsewhere."""
        return self._call("gather", x, algorithm, async_op, root=root, axis=axis)

    def reduce_scatter(self, x, op="sum", axis=0, *, algorithm=None, async_op=False):
        """(…, P·n, …) -> (…, n, …): rank r gets share r of what all ranks' x make together."""
        return self._call("reduce_scatter", x, algorithm, async_op, op=op, axis=axis)

    def all_to_all(self, x, split_axis=0, concat_axis=0, *, algorithm=None, async_op=False):
        """(…, P·n, …) -> share r of ``split_axis`` goes to rank r, and what comes in is put
        together along ``concat_axis``: rank 0's first."""
        axes = dict(split_axis=split_axis, concat_axis=concat_axis)
        return self._call("all_to_all", x, algorithm, async_op, **axes)

    def all_to_all_rows(self, x, send_counts, recv_counts, *, async_op=False):
        """(Σ send_counts, …) -> (Σ recv_counts, …): uneven shares of axis 0, as MPI's Alltoallv.

        The first send_counts[0] rows go to rank 0, and so on; recv_counts[r] rows come from rank r,
        which must be what it sends (exchange the counts first, with ``all_to_all``). Shapes may
        differ between ranks in axis 0 alone.
        """
        counts = dict(send_counts=_counts(send_counts), recv_counts=_counts(recv_counts))
        return self._call("all_to_all_rows", x, None, async_op, **counts)

    def barrier(self):
        """Wait until all ranks have come here."""
        raise NotImplementedError

    # ---------------------------------------------------------------- from one to another

    def send(self, x, dest, tag=0):
        """Send x to rank ``dest``, and wait until it has been received there.

        Returns None for an array. For a Tensor a Tensor 0, which belongs to the graph: add it to
        what the rank returns, or nobody answers the receiver's backward pass.
        """
        raise NotImplementedError

    def recv(self, like, source, tag=0):
        """What rank ``source`` sends here, of the shape and dtype of ``like``. A Tensor ``like``
        that requires a gradient (its own is 0) makes backward send the gradient back."""
        raise NotImplementedError

    def send_recv(self, x, dest, source, tag=0):
        """Send x to ``dest`` while receiving the same shape and dtype from ``source``."""
        raise NotImplementedError

    def isend(self, x, dest, tag=0):
        """Begin to send an array, copied at once; a Handle, whose ``wait()`` waits until it has
        been received."""
        raise NotImplementedError

    def irecv(self, like, source, tag=0):
        """Begin to receive an array like ``like``; a Handle."""
        raise NotImplementedError

    def split(self, color, key=0):
        """A communicator of all ranks that give the same ``color``, ordered by ``key``, then by
        rank; None for ranks whose color is None. Everyone calls it."""
        raise NotImplementedError

    # ---------------------------------------------------------------- simulated time

    def compute(self, seconds, name="compute"):
        """Say that the rank works for so many seconds. Real engines pass it over: there the time
        goes by of itself."""

    @contextlib.contextmanager
    def phase(self, name):
        """Inside ``with comm.phase(name):`` traffic is counted under that name."""
        yield

    @property
    def clock(self):
        """The rank's time in seconds: simulated, from the beginning of the run; on real engines
        from some moment on."""
        raise NotImplementedError

    # ---------------------------------------------------------------- for engines

    def apply(self, collective, x, algorithm, **parameters):
        """A collective on an array, blocking: what the primitives of ``ops`` are made of."""
        x, parameters = self._ready(collective, x, parameters)
        return self._begin(collective, x, algorithm, parameters, False)

    def _begin(self, collective, x, algorithm, parameters, async_op):
        """Do, or begin, a collective on an array that fits: the array, or a Handle."""
        raise NotImplementedError

    def _call(self, collective, x, algorithm, async_op, **parameters):
        self._check(collective, x, algorithm, parameters)
        if isinstance(x, engine.Traced):
            if not async_op:
                primitive = getattr(_ops(), collective)
                if collective != "all_to_all_rows":
                    parameters["algorithm"] = algorithm
                return primitive(x, comm=self, **parameters)
            x = self._untraced(f"{collective}: async_op=True", x)
        x, parameters = self._ready(collective, x, parameters)
        return self._begin(collective, x, algorithm, parameters, async_op)

    def _ready(self, collective, x, parameters):
        """The array and parameters of a call, as ``_begin`` takes them."""
        x = self._array(collective, x)
        if parameters.get("op") == "mean" and x.dtype == np.float16:
            # Their sum may be beyond float16 where their mean is not.
            x, parameters = x / x.dtype.type(self.size), {**parameters, "op": "sum"}
        return x, parameters

    def _untraced(self, what, x):
        """A Tensor's array. Raises TypeError where a derivative would be lost."""
        while isinstance(x, engine.Traced):
            if x.node is not None or x.tangent is not None:
                raise TypeError(f"{what} takes arrays, or Tensors that need no gradient")
            x = x.data
        return x

    def _array(self, what, x):
        """x as an array that can travel. Raises TypeError, or ValueError for another device."""
        if isinstance(x, np.ma.MaskedArray):
            raise TypeError(f"{what}: rank {self.rank} gave a masked array; fill it first")
        if not backend.is_array(x):
            empty = "where its numbers are not used, np.empty will do"
            hint = f"for a number, np.array([{x!r}])" if _is_number(x) else empty
            raise TypeError(
                f"{what}: rank {self.rank} gave {_told(x)}; every rank gives an array of the same "
                f"shape and dtype ({hint})"
            )
        if x.dtype.kind not in "biufV" or x.dtype.hasobject:
            raise TypeError(f"{what}: rank {self.rank} gave {x.dtype}; expected numbers")
        if not x.dtype.isnative:
            raise TypeError(f"{what}: {x.dtype} has its bytes swapped; expected this machine's")
        return np.asarray(x) if backend.array_module(x) is np else x

    def _check(self, collective, x, algorithm, parameters):
        """Raise for arguments that fit no group of this size."""
        choices = CHOICES.get(collective, ())
        if algorithm is not None and algorithm not in choices:
            raise ValueError(
                f"{collective}: there is no algorithm {algorithm!r}; expected one of "
                f"{', '.join(map(repr, choices))}"
            )
        if "root" in parameters:
            parameters["root"] = self._member(collective, "root", parameters["root"])
        if "op" in parameters:
            self._check_op(collective, x, parameters["op"])
        shape = np.shape(x)
        for name in [name for name in parameters if name.endswith("axis")]:
            axis = operator.index(parameters[name])
            if not -len(shape) <= axis < len(shape):
                raise ValueError(f"{collective}: {name} is {axis} for x of shape {shape}")
            parameters[name] = axis % len(shape)
        if collective in NEEDS_SHARES:
            axis = parameters[NEEDS_SHARES[collective]]
            if shape[axis] % self.size:
                raise ValueError(
                    f"{collective}: axis {axis} of x, shape {shape}, does not divide into "
                    f"{self.size} equal shares"
                )
        if collective == "all_to_all_rows":
            self._check_counts(shape, **parameters)

    def _check_op(self, collective, x, op):
        if op not in collectives.OPS:
            known = ", ".join(map(repr, collectives.OPS))
            raise ValueError(f"{collective}: op is {op!r}; expected one of {known}")
        dtype = getattr(x, "dtype", None)
        if dtype is None or backend.is_floating(dtype):
            return
        if op == "mean":
            raise TypeError(f"{collective}: the mean of {dtype} is none; use op='sum'")
        if dtype.kind == "V":
            raise TypeError(f"{collective}: there is no {op} of {dtype}")

    def _check_counts(self, shape, send_counts, recv_counts):
        for name, counts in (("send_counts", send_counts), ("recv_counts", recv_counts)):
            if len(counts) != self.size or min(counts) < 0:
                raise ValueError(
                    f"all_to_all_rows: {name} is {counts}; expected {self.size} numbers of rows"
                )
        if not shape or sum(send_counts) != shape[0]:
            raise ValueError(
                f"all_to_all_rows: x has shape {shape}, and send_counts {send_counts} are "
                f"{sum(send_counts)} rows"
            )

    def _member(self, what, name, rank):
        """A rank of this group as an int. Raises ValueError for one that it does not have."""
        rank = operator.index(rank)
        if not 0 <= rank < self.size:
            raise ValueError(f"{what}: {name} is {rank}; expected 0 to {self.size - 1}")
        return rank

    def _tag(self, what, tag):
        """A tag as an int. Raises ValueError for one that MPI need not have."""
        tag = operator.index(tag)
        if not 0 <= tag < 32767:
            raise ValueError(f"{what}: tag is {tag}; expected 0 to 32766")
        return tag

    def _partners(self, dest, source):
        """Whether a send_recv stays on this rank. Raises ValueError for ranks that are none, and
        where what a rank sends to itself would not be received, or the other way round."""
        self._member("send_recv", "dest", dest)
        self._member("send_recv", "source", source)
        if dest != source and self.rank in (dest, source):
            raise ValueError(
                f"send_recv: dest is {dest} and source {source} on rank {self.rank}; with itself, "
                "a rank can only do both"
            )
        return dest == self.rank

    def __repr__(self):
        return f"<{type(self).__name__}: rank {self.rank} of {self.size}>"


def dense(x):
    """The array, copied if its elements are not side by side (``ascontiguousarray`` would give an
    array without axes one)."""
    return x if x.flags.c_contiguous else x.copy(order="C")


def _counts(counts):
    counts = backend.to_device(counts, "cpu") if backend.is_array(counts) else counts
    return tuple(int(count) for count in np.asarray(counts).reshape(-1))


def _is_number(x):
    return isinstance(x, int | float | np.number)


def _told(x):
    return repr(x) if x is None or isinstance(x, int | float | str) else f"a {type(x).__name__}"


@functools.cache
def _ops():
    from minigrad.distributed import ops

    return ops


def describe(collective, x, parameters):
    """A call in words: ``all_reduce(float32 (3, 4), op='sum')``."""
    told = [f"{x.dtype} {tuple(x.shape)}"] if x is not None else []
    told += [f"{name}={value!r}" for name, value in parameters.items() if value is not None]
    return f"{collective}({', '.join(told)})"
