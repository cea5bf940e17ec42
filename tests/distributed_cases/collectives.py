"""Collectives, messages, groups and their derivatives, on arrays that differ by rank."""

import numpy as np

import minigrad as mg
from distributed_cases import Case

SIZE = 4


def drawn(rank, shape=(8, 3), dtype=np.float64):
    return np.random.default_rng(100 + rank).normal(size=shape).astype(dtype)


def all_drawn(**options):
    return np.stack([drawn(rank, **options) for rank in range(SIZE)])


def collectives(comm):
    x = drawn(comm.rank)
    return {
        "all_reduce": comm.all_reduce(x),
        "mean": comm.all_reduce(x, "mean"),
        "max": comm.all_reduce(x, "max"),
        "broadcast": comm.broadcast(x, 2),
        "reduce": comm.reduce(x, root=1),
        "all_gather": comm.all_gather(x, 1),
        "scatter": comm.scatter(x, 3),
        "gather": comm.gather(x, 1),
        "reduce_scatter": comm.reduce_scatter(x),
        "all_to_all": comm.all_to_all(x),
        "all_to_all, other axes": comm.all_to_all(x, 0, 1),
        "a number": comm.all_reduce(x[0, 0].reshape(())),
        "turned": comm.all_gather(x.T),
        "nothing": comm.all_gather(x[:0]),
    }


def check_collectives(results):
    X = all_drawn()
    total = X.sum(0)
    for rank, got in enumerate(results):
        own = slice(2 * rank, 2 * rank + 2)
        want = {
            "all_reduce": total,
            "mean": X.mean(0),
            "max": X.max(0),
            "broadcast": X[2],
            "reduce": total if rank == 1 else 0 * total,
            "all_gather": np.concatenate(list(X), 1),
            "scatter": X[3, own],
            "gather": X.reshape(-1, 3) if rank == 1 else np.zeros((32, 3)),
            "reduce_scatter": total[own],
            "all_to_all": X[:, own].reshape(8, 3),
            "all_to_all, other axes": np.concatenate(list(X[:, own]), 1),
            "a number": total[0, 0],
            "turned": X.swapaxes(1, 2).reshape(12, 8),
            "nothing": np.zeros((0, 3)),
        }
        for name in want:
            np.testing.assert_allclose(got[name], want[name], rtol=1e-14, atol=1e-14, err_msg=name)
            assert np.shape(got[name]) == np.shape(want[name])


def under_way(comm):
    x = drawn(comm.rank)
    begun = [
        comm.all_reduce(x, async_op=True),
        comm.all_gather(x, async_op=True),
        comm.reduce_scatter(x, async_op=True),
    ]
    blocking = comm.broadcast(x, 1)
    return [handle.wait() for handle in reversed(begun)][::-1], blocking


def check_under_way(results):
    X = all_drawn()
    for rank, ((total, gathered, share), blocking) in enumerate(results):
        np.testing.assert_allclose(total, X.sum(0), rtol=1e-14)
        np.testing.assert_array_equal(gathered, X.reshape(-1, 3))
        np.testing.assert_allclose(share, X.sum(0)[2 * rank : 2 * rank + 2], rtol=1e-14)
        np.testing.assert_array_equal(blocking, X[1])


def messages(comm):
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    x = drawn(comm.rank)
    passed = comm.send_recv(x, right, left)
    first, second = comm.irecv(x, left, 7), comm.irecv(x, left, 7)
    sent = [comm.isend(x, right, 7), comm.isend(2 * x, right, 7)]
    second, first = second.wait(), first.wait()
    for handle in sent:
        handle.wait()
    pair = None
    if comm.rank == 0:
        comm.send(x[:1], 3)
        comm.send(x[:2], 3, 5)
    elif comm.rank == 3:
        pair = comm.recv(x[:1], 0), comm.recv(x[:2], 0, 5)
    comm.barrier()
    return passed, first, second, pair


def check_messages(results):
    X = all_drawn()
    for rank, (passed, first, second, pair) in enumerate(results):
        for got, want in ((passed, 1), (first, 1), (second, 2)):
            np.testing.assert_array_equal(got, want * X[rank - 1])
        assert (pair is None) == (rank != 3)
    np.testing.assert_array_equal(results[3][3][0], X[0, :1])
    np.testing.assert_array_equal(results[3][3][1], X[0, :2])


def groups(comm):
    parity = comm.split(comm.rank % 2, key=-comm.rank)
    one = comm.split(0 if comm.rank == 2 else None)
    mine = np.array([comm.rank])
    alone = None if one is None else (one.rank, one.size, one.all_reduce(mine))
    both = comm.all_reduce(parity.all_reduce(mine))
    return parity.rank, parity.size, parity.all_gather(mine), alone, both


def check_groups(results):
    assert [rank for rank, *_ in results] == [1, 1, 0, 0]
    for rank, (_, size, members, alone, both) in enumerate(results):
        assert size == 2 and members.tolist() == [rank % 2 + 2, rank % 2]
        assert (alone is not None) == (rank == 2)
        assert both.tolist() == [2 * (0 + 2) + 2 * (1 + 3)]
    assert results[2][3] == (0, 1, np.array([2]))


def rows(comm):
    """Rank r sends r + d + 1 rows to rank d."""
    send = [comm.rank + d + 1 for d in range(comm.size)]
    x = drawn(comm.rank, (sum(send), 2))
    counts = comm.all_to_all(np.array(send))
    return comm.all_to_all_rows(x, send, counts), counts


def check_rows(results):
    sent = []
    for rank in range(SIZE):
        send = [rank + d + 1 for d in range(SIZE)]
        sent.append(np.split(drawn(rank, (sum(send), 2)), np.cumsum(send)[:-1]))
    for rank, (got, counts) in enumerate(results):
        assert counts.tolist() == [s + rank + 1 for s in range(SIZE)]
        np.testing.assert_array_equal(got, np.concatenate([sent[s][rank] for s in range(SIZE)]))


DERIVED = {
    "all_reduce": lambda comm, x: comm.all_reduce(x),
    "mean": lambda comm, x: comm.all_reduce(x, "mean"),
    "broadcast": lambda comm, x: comm.broadcast(x, 1),
    "reduce": lambda comm, x: comm.reduce(x, root=2),
    "reduce mean": lambda comm, x: comm.reduce(x, "mean", 2),
    "all_gather": lambda comm, x: comm.all_gather(x, 1),
    "reduce_scatter": lambda comm, x: comm.reduce_scatter(x, axis=0),
    "scatter": lambda comm, x: comm.scatter(x, 3),
    "gather": lambda comm, x: comm.gather(x, 1),
    "all_to_all": lambda comm, x: comm.all_to_all(x, 0, 1),
    "all_to_all_rows": lambda comm, x: comm.all_to_all_rows(x, *uneven(comm)),
    "send_recv": lambda comm, x: comm.send_recv(x, (comm.rank + 1) % 4, (comm.rank - 1) % 4),
}


def uneven(comm):
    """8 rows: 2 more to the rank itself than to others; the counts to send and receive."""
    table = np.full((4, 4), 1) + np.eye(4, dtype=int) * 2 + np.eye(4, k=1, dtype=int)
    table[3, 3] += 1
    table[:, 0] += 8 - table.sum(1)
    return table[comm.rank], table[:, comm.rank]


def weights(rank, shape):
    """What the rank's output is weighed with, so that no two ranks' gradients are alike."""
    return np.random.default_rng(rank).normal(size=shape)


def gradients(comm):
    found = {}
    for name, function in DERIVED.items():
        x = mg.Tensor(drawn(comm.rank), requires_grad=True)
        y = function(comm, x)
        loss = (y * y * weights(comm.rank, y.shape)).sum()
        loss.backward()
        found[name] = x.grad.numpy(), loss.item()
    return found


def check_gradients(results):
    """The gradient, written with NumPy from all ranks' arrays: the transpose of each collective."""
    X = all_drawn()

    def back(y):  # the output's cotangent on each rank
        return [2 * each * weights(rank, each.shape) for rank, each in enumerate(y)]

    total, zero = X.sum(0), np.zeros_like(X[0])
    g = back([total] * 4)
    np.testing.assert_allclose([r["all_reduce"][0] for r in results], [sum(g)] * 4, rtol=1e-12)
    g = back([total / 4] * 4)
    np.testing.assert_allclose([r["mean"][0] for r in results], [sum(g) / 4] * 4, rtol=1e-12)
    g = back([X[1]] * 4)
    want = [zero, sum(g), zero, zero]
    np.testing.assert_allclose([r["broadcast"][0] for r in results], want, rtol=1e-12)
    g = back([zero, zero, total, zero])
    np.testing.assert_allclose([r["reduce"][0] for r in results], [g[2]] * 4, rtol=1e-12)
    g = back([zero, zero, total / 4, zero])
    np.testing.assert_allclose([r["reduce mean"][0] for r in results], [g[2] / 4] * 4, rtol=1e-12)
    g = sum(back([np.concatenate(list(X), 1)] * 4))
    want = np.split(g, 4, 1)
    np.testing.assert_allclose([r["all_gather"][0] for r in results], want, rtol=1e-12)
    g = np.concatenate(back(np.split(total, 4)))
    np.testing.assert_allclose([r["reduce_scatter"][0] for r in results], [g] * 4, rtol=1e-12)
    g = np.concatenate(back(np.split(X[3], 4)))
    want = [zero, zero, zero, g]
    np.testing.assert_allclose([r["scatter"][0] for r in results], want, rtol=1e-12)
    g = back([np.zeros((32, 3)), np.concatenate(list(X)), np.zeros((32, 3)), np.zeros((32, 3))])
    want = np.split(g[1], 4)
    np.testing.assert_allclose([r["gather"][0] for r in results], want, rtol=1e-12)
    pieces = X.reshape(4, 4, 2, 3)  # rank, destination
    g = back([np.concatenate(list(pieces[:, rank]), 1) for rank in range(4)])
    g = np.stack([np.stack(np.split(each, 4, 1)) for each in g])  # rank, source
    want = g.swapaxes(0, 1).reshape(4, 8, 3)
    np.testing.assert_allclose([r["all_to_all"][0] for r in results], want, rtol=1e-12)
    g = back([X[rank - 1] for rank in range(4)])
    want = [g[(rank + 1) % 4] for rank in range(4)]
    np.testing.assert_allclose([r["send_recv"][0] for r in results], want, rtol=1e-12)


def check_rows_gradient(results):
    """Each row goes to one rank, and its gradient comes back from there."""
    X = all_drawn()
    comms = [type("Rank", (), {"rank": rank}) for rank in range(4)]
    sent = [np.split(X[r], np.cumsum(uneven(c)[0])[:-1]) for r, c in enumerate(comms)]
    arrived = [np.concatenate([sent[s][d] for s in range(4)]) for d in range(4)]
    g = [2 * y * weights(d, y.shape) for d, y in enumerate(arrived)]
    g = [np.split(g[d], np.cumsum(uneven(c)[1])[:-1]) for d, c in enumerate(comms)]
    for s, found in enumerate(results):
        want = np.concatenate([g[d][s] for d in range(4)])
        np.testing.assert_allclose(found["all_to_all_rows"][0], want, rtol=1e-12)


def check_all_gradients(results):
    check_gradients(results)
    check_rows_gradient(results)


def sent_gradients(comm):
    """Rank 1 sends to 3, which squares it; both walk back."""
    x = mg.Tensor(drawn(comm.rank), requires_grad=True)
    loss = (x * 3).sum()
    if comm.rank == 1:
        loss = loss + comm.send(x * 2, 3)
    if comm.rank == 3:
        loss = loss + (comm.recv(x, 1) ** 2 * weights(3, x.shape)).sum()
    loss.backward()
    return x.grad.numpy()


def check_sent_gradients(results):
    X = all_drawn()
    for rank, got in enumerate(results):
        want = 3 + (8 * X[1] * weights(3, X[1].shape) if rank == 1 else 0 * X[1])
        np.testing.assert_allclose(got, want, rtol=1e-12)


def answers(comm):
    """A receive that began before the message which it answers was sent."""
    x = drawn(comm.rank)
    if comm.rank == 1:
        answer = comm.irecv(x, 2)
        comm.send(x, 2)
        return answer.wait()
    if comm.rank == 2:
        comm.send(2 * comm.recv(x, 1), 1)
    return x


def check_answers(results):
    for rank, got in enumerate(results):
        np.testing.assert_array_equal(got, (2 if rank == 1 else 1) * drawn(rank))


def drawn_alike(comm):
    """Ranks begin with the same random numbers, though nobody has seeded them."""
    return mg.dropout(mg.tensor(np.ones(64)), 0.5, training=True).numpy()


def check_drawn_alike(results):
    for got in results:
        np.testing.assert_array_equal(got, results[0])
        assert 0 < (got == 0).sum() < 64


def large_halves(comm):
    x = np.full(8, 30_000, np.float16)
    return comm.all_reduce(x, "mean"), comm.reduce_scatter(x, "mean"), comm.reduce(x, "mean", 1)


def check_large_halves(results):
    for rank, (everywhere, share, at_root) in enumerate(results):
        assert (everywhere == 30_000).all() and (share == 30_000).all()
        assert (at_root == (30_000 if rank == 1 else 0)).all()


CASES = {
    "drawn alike": Case(drawn_alike, SIZE, check_drawn_alike),
    "large halves": Case(large_halves, SIZE, check_large_halves),
    "collectives": Case(collectives, SIZE, check_collectives),
    "under way": Case(under_way, SIZE, check_under_way),
    "messages": Case(messages, SIZE, check_messages),
    "answers": Case(answers, SIZE, check_answers),
    "groups": Case(groups, SIZE, check_groups),
    "rows": Case(rows, SIZE, check_rows),
    "gradients": Case(gradients, SIZE, check_all_gradients),
    "gradients of messages": Case(sent_gradients, SIZE, check_sent_gradients),
}
