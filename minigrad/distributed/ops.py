"""The collectives as primitives: what each does to derivatives.

One convention: the scalar that is differentiated is the sum over ranks of what they return. Each
collective is linear in all ranks' arrays together, and its derivative is its transpose:

    forward          backward
    broadcast        reduce
    reduce           broadcast
    all_reduce       all_reduce
    all_gather       reduce_scatter
    reduce_scatter   all_gather
    scatter          gather
    gather           scatter
    all_to_all       all_to_all, the other way
    send             recv
    recv             send
    send_recv        send_recv, the other way

A loss that every rank holds alike is counted P times under it. ``identity_then_all_reduce`` and
``all_reduce_then_identity``, f and g of Megatron, count it once.

A rank takes part in the backward pass only by the graph of what it returns. Where a rank has no
result (the others in a reduce or gather, the sender in a send), the call gives it zeros, which
belong to the graph: add them to what is returned. Second derivatives go through all of them but a
lone send and recv, whose partner would not know that it is asked again (send_recv does).
"""

import numpy as np

from minigrad import backend
from minigrad.engine import primitive

CONVENTION = {
    "broadcast": "reduce",
    "reduce": "broadcast",
    "all_reduce": "all_reduce",
    "all_gather": "reduce_scatter",
    "reduce_scatter": "all_gather",
    "scatter": "gather",
    "gather": "scatter",
    "all_to_all": "all_to_all",
    "send": "recv",
    "recv": "send",
    "send_recv": "send_recv",
}


def _linear(op, what):
    if op not in ("sum", "mean"):
        raise NotImplementedError(
            f"{what} with op={op!r} has no derivative rule; sum and mean have, and what is only "
            "needed for stability (the largest score) can be detached first"
        )


@primitive
def all_reduce(x, /, comm, op="sum", algorithm=None):
    return comm.apply("all_reduce", x, algorithm, op=op)


def _again(g, comm, op, algorithm):
    _linear(op, "all_reduce")
    return all_reduce(g, comm=comm, op=op, algorithm=algorithm)


all_reduce.vjp(_again)
all_reduce.jvp(_again)


@primitive
def reduce(x, /, comm, op="sum", root=0, algorithm=None):
    return comm.apply("reduce", x, algorithm, op=op, root=root)


def _reduce_back(g, comm, op, root):
    _linear(op, "reduce")
    g = broadcast(g, comm=comm, root=root)
    return g / comm.size if op == "mean" else g


def _reduce_on(dx, comm, op, root, algorithm):
    _linear(op, "reduce")
    return reduce(dx, comm=comm, op=op, root=root, algorithm=algorithm)


reduce.vjp(_reduce_back)
reduce.jvp(_reduce_on)


@primitive
def broadcast(x, /, comm, root=0, algorithm=None):
    return comm.apply("broadcast", x, algorithm, root=root)


broadcast.vjp(lambda g, comm, root: reduce(g, comm=comm, root=root))
broadcast.jvp(lambda dx, comm, root, algorithm: broadcast(dx, comm, root, algorithm))


@primitive
def all_gather(x, /, comm, axis=0, algorithm=None):
    return comm.apply("all_gather", x, algorithm, axis=axis)


all_gather.vjp(lambda g, comm, axis: reduce_scatter(g, comm=comm, axis=axis))
all_gather.jvp(lambda dx, comm, axis, algorithm: all_gather(dx, comm, axis, algorithm))


@primitive
def reduce_scatter(x, /, comm, op="sum", axis=0, algorithm=None):
    return comm.apply("reduce_scatter", x, algorithm, op=op, axis=axis)


def _reduce_scatter_back(g, comm, op, axis):
    _linear(op, "reduce_scatter")
    g = all_gather(g, comm=comm, axis=axis)
    return g / comm.size if op == "mean" else g


def _reduce_scatter_on(dx, comm, op, axis, algorithm):
    _linear(op, "reduce_scatter")
    return reduce_scatter(dx, comm, op, axis, algorithm)


reduce_scatter.vjp(_reduce_scatter_back)
reduce_scatter.jvp(_reduce_scatter_on)


@primitive
def scatter(x, /, comm, root=0, axis=0, algorithm=None):
    return comm.apply("scatter", x, algorithm, root=root, axis=axis)


scatter.vjp(lambda g, comm, root, axis: gather(g, comm=comm, root=root, axis=axis))
scatter.jvp(lambda dx, comm, root, axis, algorithm: scatter(dx, comm, root, axis, algorithm))


@primitive
def gather(x, /, comm, root=0, axis=0, algorithm=None):
    return comm.apply("gather", x, algorithm, root=root, axis=axis)


gather.vjp(lambda g, comm, root, axis: scatter(g, comm=comm, root=root, axis=axis))
gather.jvp(lambda dx, comm, root, axis, algorithm: gather(dx, comm, root, axis, algorithm))


@primitive
def all_to_all(x, /, comm, split_axis=0, concat_axis=0, algorithm=None):
    return comm.apply("all_to_all", x, algorithm, split_axis=split_axis, concat_axis=concat_axis)


all_to_all.vjp(
    lambda g, comm, split_axis, concat_axis: all_to_all(g, comm, concat_axis, split_axis)
)
all_to_all.jvp(
    lambda dx, comm, split_axis, concat_axis: all_to_all(dx, comm, split_axis, concat_axis)
)


@primitive
def all_to_all_rows(x, /, comm, send_counts, recv_counts, algorithm=None):
    return comm.apply(
        "all_to_all_rows", x, algorithm, send_counts=send_counts, recv_counts=recv_counts
    )


all_to_all_rows.vjp(
    lambda g, comm, send_counts, recv_counts: all_to_all_rows(g, comm, recv_counts, send_counts)
)
all_to_all_rows.jvp(
    lambda dx, comm, send_counts, recv_counts: all_to_all_rows(dx, comm, send_counts, recv_counts)
)


@primitive
def send(x, /, comm, dest, tag=0):
    """Sends x; gives a zero to be added to what the rank returns, so that backward comes here."""
    comm.send(x, dest, tag)
    return backend.zeros((), x)


send.vjp(lambda g, comm, dest, tag, x_shape, x_dtype: _received(g, comm, dest, tag, x_shape))
send.jvp(lambda dx, comm, dest, tag: send(dx, comm, dest, tag))


def _received(g, comm, source, tag, shape):
    return recv(g + backend.zeros(shape, _plain(g)), comm, source, tag)


def _plain(g):
    return g.data if hasattr(g, "level") else g


@primitive
def recv(like, /, comm, source, tag=0):
    """What ``source`` sent, in the shape and dtype of ``like``."""
    return comm.recv(like, source, tag)


def _sent_back(g, comm, source, tag):
    # Nothing comes back from there: like's own derivative is 0.
    return send(g, comm, source, tag) * np.zeros_like(_plain(g))


recv.vjp(_sent_back)
recv.jvp(lambda dlike, comm, source, tag: recv(dlike, comm, source, tag))


@primitive
def send_recv(x, /, comm, dest, source, tag=0):
    return comm.send_recv(x, dest, source, tag)


send_recv.vjp(lambda g, comm, dest, source, tag: send_recv(g, comm, source, dest, tag))
send_recv.jvp(lambda dx, comm, dest, source, tag: send_recv(dx, comm, dest, source, tag))


@primitive
def identity_then_all_reduce(x, /, comm):
    """Megatron's f: every rank goes on with the same x; backward adds up what they say of it."""
    return x


identity_then_all_reduce.jvp(lambda dx, comm: identity_then_all_reduce(dx, comm))


@primitive
def all_reduce_then_identity(x, /, comm):
    """Megatron's g: adds up the ranks' shares; backward gives each the gradient as it is, since
    what follows is the same on all ranks and is counted once."""
    return comm.apply("all_reduce", x, None, op="sum")


# Each is the other's transpose, derivatives of derivatives included.
identity_then_all_reduce.vjp(lambda g, comm: all_reduce_then_identity(g, comm))
all_reduce_then_identity.vjp(lambda g, comm: identity_then_all_reduce(g, comm))
all_reduce_then_identity.jvp(lambda dx, comm: all_reduce_then_identity(dx, comm))
