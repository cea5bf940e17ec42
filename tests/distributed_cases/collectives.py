"""Collectives, messages, groups and their derivatives, on arrays that differ by rank.

P is the number of ranks, 4 or 2; roots and partners are counted from the last rank, ``P - 1``.
"""

import functools

import numpy as np

import minigrad as mg
from distributed_cases import HOME, Case
from minigrad import backend
from minigrad.distributed.algorithms import CHOICES


def drawn(rank, shape=(8, 3)):
    return np.random.default_rng(100 + rank).normal(size=shape)


def mine(comm, shape=(8, 3)):
    """What the rank has drawn, where its arrays are."""
    return backend.to_device(drawn(comm.rank, shape), HOME)


def all_drawn(P):
    return np.stack([drawn(rank) for rank in range(P)])


def collectives(comm, place):
    """``place``: makes the rank's array; NumPy's travel on every engine."""
    x, last = place(comm), comm.size - 1
    return {
        "all_reduce": comm.all_reduce(x),
        "mean": comm.all_reduce(x, "mean"),
        "max": comm.all_reduce(x, "max"),
        "broadcast": comm.broadcast(x, last - 1),
        "reduce": comm.reduce(x, root=1),
        "all_gather": comm.all_gather(x, 1),
        "scatter": comm.scatter(x, last),
        "gather": comm.gather(x, 1),
        "reduce_scatter": comm.reduce_scatter(x),
        "all_to_all": comm.all_to_all(x),
        "all_to_all, other axes": comm.all_to_all(x, 0, 1),
        "a number": comm.all_reduce(x[0, 0].reshape(())),
        "turned": comm.all_gather(x.T),
        "nothing": comm.all_gather(x[:0]),
    }


def check_collectives(results):
    P = len(results)
    X = all_drawn(P)
    total, n = X.sum(0), 8 // P
    for rank, got in enumerate(results):
        own = slice(n * rank, n * rank + n)
        want = {
            "all_reduce": total,
            "mean": X.mean(0),
            "max": X.max(0),
            "broadcast": X[-2],
            "reduce": total if rank == 1 else 0 * total,
            "all_gather": np.concatenate(list(X), 1),
            "scatter": X[-1, own],
            "gather": X.reshape(-1, 3) if rank == 1 else np.zeros((8 * P, 3)),
            "reduce_scatter": total[own],
            "all_to_all": X[:, own].reshape(8, 3),
            "all_to_all, other axes": np.concatenate(list(X[:, own]), 1),
            "a number": total[0, 0],
            "turned": X.swapaxes(1, 2).reshape(3 * P, 8),
            "nothing": np.zeros((0, 3)),
        }
        for name in want:
            np.testing.assert_allclose(got[name], want[name], rtol=1e-14, atol=1e-14, err_msg=name)
            assert np.shape(got[name]) == np.shape(want[name])


def by_name(comm):
    x, found = mine(comm, (12, 3)), {}
    for name, algorithms in CHOICES.items():
        root = {"root": 1} if name in ("broadcast", "reduce", "scatter", "gather") else {}
        for algorithm in algorithms:
            found[name, algorithm] = getattr(comm, name)(x, algorithm=algorithm, **root)
    return found


def check_by_name(results):
    P = len(results)
    X = np.stack([drawn(rank, (12, 3)) for rank in range(P)])
    shares = X.reshape(P, P, 12 // P, 3)
    for rank, found in enumerate(results):
        want = {
            "all_reduce": X.sum(0),
            "broadcast": X[1],
            "reduce": X.sum(0) * (rank == 1),
            "all_gather": X.reshape(-1, 3),
            "scatter": shares[1, rank],
            "gather": X.reshape(-1, 3) * (rank == 1),
            "reduce_scatter": shares[:, rank].sum(0),
            "all_to_all": shares[:, rank].reshape(12, 3),
        }
        assert want.keys() == {name for name, _ in found}
        for (name, algorithm), got in found.items():
            message = f"{name}, {algorithm}"
            np.testing.assert_allclose(got, want[name], rtol=1e-14, atol=1e-14, err_msg=message)


def under_way(comm):
    x = mine(comm)
    begun = [
        comm.all_reduce(x, async_op=True),
        comm.all_gather(x, async_op=True),
        comm.reduce_scatter(x, async_op=True),
    ]
    blocking = comm.broadcast(x, 1)
    return [handle.wait() for handle in reversed(begun)][::-1], blocking


def check_under_way(results):
    P = len(results)
    X, n = all_drawn(P), 8 // P
    for rank, ((total, gathered, share), blocking) in enumerate(results):
        np.testing.assert_allclose(total, X.sum(0), rtol=1e-14)
        np.testing.assert_array_equal(gathered, X.reshape(-1, 3))
        np.testing.assert_allclose(share, X.sum(0)[n * rank : n * rank + n], rtol=1e-14)
        np.testing.assert_array_equal(blocking, X[1])


def messages(comm):
    right, left, last = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size, comm.size - 1
    x = mine(comm)
    double = 2 * x
    passed = comm.send_recv(x, right, left)
    first, second = comm.irecv(x, left, 7), comm.irecv(x, left, 7)
    sent = [comm.isend(x, right, 7), comm.isend(double, right, 7)]
    second, first = second.wait(), first.wait()
    for handle in sent:
        handle.wait()
    pair = None
    if comm.rank == 0:
        comm.send(x[:1], last)
        comm.send(x[:2], last, 5)
    elif comm.rank == last:
        pair = comm.recv(x[:1], 0), comm.recv(x[:2], 0, 5)
    comm.barrier()
    return passed, first, second, pair


def check_messages(results):
    last = len(results) - 1
    X = all_drawn(len(results))
    for rank, (passed, first, second, pair) in enumerate(results):
        for got, want in ((passed, 1), (first, 1), (second, 2)):
            np.testing.assert_array_equal(got, want * X[rank - 1])
        assert (pair is None) == (rank != last)
    np.testing.assert_array_equal(results[last][3][0], X[0, :1])
    np.testing.assert_array_equal(results[last][3][1], X[0, :2])


def groups(comm):
    parity = comm.split(comm.rank % 2, key=-comm.rank)
    one = comm.split(0 if comm.rank == comm.size - 2 else None)
    mine = backend.to_device(np.array([comm.rank]), HOME)
    alone = None if one is None else (one.rank, one.size, one.all_reduce(mine))
    both = comm.all_reduce(parity.all_reduce(mine))
    return parity.rank, parity.size, parity.all_gather(mine), alone, both


def check_groups(results):
    P = len(results)
    for rank, (place, size, members, alone, both) in enumerate(results):
        want = [other for other in reversed(range(P)) if other % 2 == rank % 2]
        assert size == P // 2 and members.tolist() == want and want[place] == rank
        assert alone == ((0, 1, np.array([rank])) if rank == P - 2 else None)
        assert both.tolist() == [sum(range(P)) * (P // 2)]


def rows(comm):
    """Rank r sends r + d + 1 rows to rank d."""
    send = [comm.rank + d + 1 for d in range(comm.size)]
    x = mine(comm, (sum(send), 2))
    counts = comm.all_to_all(np.array(send))
    return comm.all_to_all_rows(x, send, counts), counts


def check_rows(results):
    P, sent = len(results), []
    for rank in range(P):
        send = [rank + d + 1 for d in range(P)]
        sent.append(np.split(drawn(rank, (sum(send), 2)), np.cumsum(send)[:-1]))
    for rank, (got, counts) in enumerate(results):
        assert counts.tolist() == [s + rank + 1 for s in range(P)]
        np.testing.assert_array_equal(got, np.concatenate([sent[s][rank] for s in range(P)]))


DERIVED = {
    "all_reduce": lambda comm, x: comm.all_reduce(x),
    "mean": lambda comm, x: comm.all_reduce(x, "mean"),
    "broadcast": lambda comm, x: comm.broadcast(x, 1),
    "reduce": lambda comm, x: comm.reduce(x, root=comm.size - 2),
    "reduce mean": lambda comm, x: comm.reduce(x, "mean", comm.size - 2),
    "all_gather": lambda comm, x: comm.all_gather(x, 1),
    "reduce_scatter": lambda comm, x: comm.reduce_scatter(x, axis=0),
    "scatter": lambda comm, x: comm.scatter(x, comm.size - 1),
    "gather": lambda comm, x: comm.gather(x, 1),
    "all_to_all": lambda comm, x: comm.all_to_all(x, 0, 1),
    "all_to_all_rows": lambda comm, x: comm.all_to_all_rows(x, *uneven(comm.rank, comm.size)),
    "send_recv": lambda comm, x: comm.send_recv(
        x, (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    ),
}


def uneven(rank, P):
    """8 rows: 2 more to the rank itself than to others; the counts to send and receive."""
    table = np.full((P, P), 1) + np.eye(P, dtype=int) * 2 + np.eye(P, k=1, dtype=int)
    table[-1, -1] += 1
    table[:, 0] += 8 - table.sum(1)
    return table[rank], table[:, rank]


def weights(rank, shape):
    """What the rank's output is weighed with, so that no two ranks' gradients are alike."""
    return np.random.default_rng(rank).normal(size=shape)


def gradients(comm):
    found = {}
    for name, function in DERIVED.items():
        x = mg.Tensor(mine(comm), requires_grad=True)
        y = function(comm, x)
        loss = (y * y * mg.tensor(weights(comm.rank, y.shape), device=HOME)).sum()
        loss.backward()
        found[name] = x.grad.numpy(), loss.item()
    return found


def check_gradients(results):
    """The gradient, written with NumPy from all ranks' arrays: the transpose of each collective."""
    P = len(results)
    X, last = all_drawn(P), P - 1

    def back(y):  # the output's cotangent on each rank
        return [2 * each * weights(rank, each.shape) for rank, each in enumerate(y)]

    def check(name, want):
        np.testing.assert_allclose([r[name][0] for r in results], want, rtol=1e-12, err_msg=name)

    def at(rank, array):  # an array on one rank, zeros on the others
        return [array if each == rank else np.zeros_like(array) for each in range(P)]

    total = X.sum(0)
    check("all_reduce", [sum(back([total] * P))] * P)
    check("mean", [sum(back([total / P] * P)) / P] * P)
    check("broadcast", at(1, sum(back([X[1]] * P))))
    check("reduce", [back(at(last - 1, total))[last - 1]] * P)
    check("reduce mean", [back(at(last - 1, total / P))[last - 1] / P] * P)
    check("all_gather", np.split(sum(back([np.concatenate(list(X), 1)] * P)), P, 1))
    check("reduce_scatter", [np.concatenate(back(np.split(total, P)))] * P)
    check("scatter", at(last, np.concatenate(back(np.split(X[last], P)))))
    check("gather", np.split(back(at(1, np.concatenate(list(X))))[1], P))
    pieces = X.reshape(P, P, 8 // P, 3)  # rank, destination
    g = back([np.concatenate(list(pieces[:, rank]), 1) for rank in range(P)])
    g = np.stack([np.stack(np.split(each, P, 1)) for each in g])  # rank, source
    check("all_to_all", g.swapaxes(0, 1).reshape(P, 8, 3))
    g = back([X[rank - 1] for rank in range(P)])
    check("send_recv", [g[(rank + 1) % P] for rank in range(P)])


def check_rows_gradient(results):
    """Each row goes to one rank, and its gradient comes back from there."""
    P = len(results)
    sent = [np.split(drawn(s), np.cumsum(uneven(s, P)[0])[:-1]) for s in range(P)]
    arrived = [np.concatenate([sent[s][d] for s in range(P)]) for d in range(P)]
    g = [2 * y * weights(d, y.shape) for d, y in enumerate(arrived)]
    g = [np.split(g[d], np.cumsum(uneven(d, P)[1])[:-1]) for d in range(P)]
    for s, found in enumerate(results):
        want = np.concatenate([g[d][s] for d in range(P)])
        np.testing.assert_allclose(found["all_to_all_rows"][0], want, rtol=1e-12)


def check_all_gradients(results):
    check_gradients(results)
    check_rows_gradient(results)


def sent_gradients(comm):
    """A rank in the middle sends to the last, which squares it; both walk back."""
    first, last = comm.size // 2 - 1, comm.size - 1
    x = mg.Tensor(mine(comm), requires_grad=True)
    loss = (x * 3).sum()
    if comm.rank == first:
        loss = loss + comm.send(x * 2, last)
    if comm.rank == last:
        factor = mg.tensor(weights(last, x.shape), device=HOME)
        loss = loss + (comm.recv(x, first) ** 2 * factor).sum()
    loss.backward()
    return x.grad.numpy()


def check_sent_gradients(results):
    first, last = len(results) // 2 - 1, len(results) - 1
    X = all_drawn(len(results))
    for rank, got in enumerate(results):
        want = 3 + (8 * X[first] * weights(last, X[0].shape) if rank == first else 0 * X[0])
        np.testing.assert_allclose(got, want, rtol=1e-12)


def answers(comm):
    """A receive that began before the message which it answers was sent."""
    asks, x = comm.size // 2 - 1, mine(comm)
    if comm.rank == asks:
        answer = comm.irecv(x, asks + 1)
        comm.send(x, asks + 1)
        return answer.wait()
    if comm.rank == asks + 1:
        comm.send(2 * comm.recv(x, asks), asks)
    return x


def check_answers(results):
    asks = len(results) // 2 - 1
    for rank, got in enumerate(results):
        want = 2 * drawn(asks) if rank == asks else drawn(rank)
        np.testing.assert_array_equal(got, want)


def drawn_alike(comm):
    """Ranks begin with the same random numbers, though nobody has seeded them."""
    return mg.dropout(mg.tensor(np.ones(64)), 0.5, training=True).numpy()


def check_drawn_alike(results):
    for got in results:
        np.testing.assert_array_equal(got, results[0])
        assert 0 < (got == 0).sum() < 64


def large_halves(comm):
    x = backend.to_device(np.full(8, 30_000, np.float16), HOME)
    return comm.all_reduce(x, "mean"), comm.reduce_scatter(x, "mean"), comm.reduce(x, "mean", 1)


def check_large_halves(results):
    for rank, (everywhere, share, at_root) in enumerate(results):
        assert (everywhere == 30_000).all() and (share == 30_000).all()
        assert (at_root == (30_000 if rank == 1 else 0)).all()


KINDS = {
    "drawn alike": (drawn_alike, check_drawn_alike),
    "large halves": (large_halves, check_large_halves),
    "collectives": (functools.partial(collectives, place=mine), check_collectives),
    "of NumPy arrays": (
        functools.partial(collectives, place=lambda comm: drawn(comm.rank)),
        check_collectives,
    ),
    "by name": (by_name, check_by_name),
    "under way": (under_way, check_under_way),
    "messages": (messages, check_messages),
    "answers": (answers, check_answers),
    "groups": (groups, check_groups),
    "rows": (rows, check_rows),
    "gradients": (gradients, check_all_gradients),
    "gradients of messages": (sent_gradients, check_sent_gradients),
}
CASES = {
    f"{name}, {P} ranks": Case(fn, P, check) for P in (4, 2) for name, (fn, check) in KINDS.items()
}
