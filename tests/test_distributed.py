"""Ranks in one process: what they get, and what they are told when something is wrong."""

import gc
import json
import threading
import time

import numpy as np
import pytest
from distributed_cases.collectives import CASES

import minigrad as mg
from minigrad import distributed as dist
from minigrad.distributed import ops
from minigrad.distributed.simulated import trace


@pytest.mark.parametrize("name", CASES)
def test_a_case_that_every_engine_passes(name):
    fn, size, check = CASES[name]
    check(dist.run(fn, size))


# ---------------------------------------------------------------- derivatives


def test_the_table_of_derivatives_is_what_happens():
    """Which collective a backward pass calls, by the bytes that it counts."""

    def calls(comm):
        x = mg.Tensor(np.ones((4, 2)), requires_grad=True)
        for name in ops.CONVENTION:
            if name in ("send", "recv"):
                continue
            partners = (1 - comm.rank, 1 - comm.rank) if name == "send_recv" else ()
            y = getattr(comm, name)(x, *partners).sum()
            with comm.phase(name):
                y.backward()

    traffic = dist.run(calls, 2).traffic
    used = {flow.phase: flow.collective for flow in traffic.flows if flow.phase}
    assert used == {a: b for a, b in ops.CONVENTION.items() if a not in ("send", "recv")}


def test_f_and_g_count_a_replicated_loss_once():
    def main(comm):
        x = mg.Tensor([2.0, 3.0], requires_grad=True)
        w = mg.Tensor([1.0 + comm.rank, 5.0], requires_grad=True)
        h = dist.identity_then_all_reduce(x, comm=comm)
        y = dist.all_reduce_then_identity(h * w, comm=comm)
        (y * y).sum().backward()
        return y.numpy(), x.grad.numpy(), w.grad.numpy()

    y = np.array([2 * (1 + 2 + 3.0), 3 * 15])
    for got, dx, dw in dist.run(main, 3):
        np.testing.assert_allclose(got, y)
        np.testing.assert_allclose(dx, 2 * y * [6, 15])  # as on one device, not 3 times that
        np.testing.assert_allclose(dw, 2 * y * [2, 3])


def test_f_and_g_are_each_other_s_transpose():
    """The gradient of the squared gradient's sum is that of one device, too."""
    W, x = np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.5])

    def bend(loss):
        return mg.grad(lambda x: (mg.grad(loss)(x) ** 2).sum())(x)

    def main(comm):
        def loss(x):
            h = dist.identity_then_all_reduce(x, comm=comm)
            return (dist.all_reduce_then_identity(h * h * W[comm.rank], comm=comm) ** 3).sum()

        return bend(loss)

    for got in dist.run(main, 3):
        np.testing.assert_allclose(got, bend(lambda x: ((x * x * W.sum()) ** 3).sum()), rtol=1e-12)


def test_forward_mode_goes_through():
    def main(comm):
        f = lambda x: comm.reduce_scatter(comm.all_gather(comm.all_reduce(x * x)))
        x, dx = np.arange(2.0) + comm.rank, np.array([1.0, 10.0 * comm.rank])
        return mg.jvp(f, (x,), (dx,))[1]

    want = 2 * 2 * (np.arange(2.0) * [1, 0] + (np.arange(2.0) + 1) * [1, 10])
    for got in dist.run(main, 2):
        np.testing.assert_allclose(got, want)


def test_second_derivatives_too():
    def main(comm):
        x = np.array([1.0, 2.0]) + comm.rank
        loss = lambda x: (comm.all_reduce(x) ** 3).sum()
        return mg.hvp(loss, (x,), (np.ones(2),))[0]

    # Over ranks the loss is 2·(a + b)³; both move by 1, so d²/dt² along it is 2·6·(a + b)·2·…
    for got in dist.run(main, 2):
        np.testing.assert_allclose(got, 2 * 6 * np.array([3.0, 5.0]) * 2)


def test_what_has_no_derivative_says_so():
    def main(comm):
        comm.all_reduce(mg.Tensor([1.0], requires_grad=True), "max").sum().backward()

    with pytest.raises(NotImplementedError, match="op='max' has no derivative rule; sum and mean"):
        dist.run(main, 2)


# ---------------------------------------------------------------- time


def test_overlap_hides_what_the_work_is_longer_than():
    wires = dist.FullyConnected(alpha=1e-3, bandwidth=1e6)
    x = np.ones(4000, np.uint8)  # 2 steps of 1 ms + 2 ms

    def main(comm, work):
        handle = comm.all_reduce(x, algorithm="ring", async_op=True)
        comm.compute(work, "backward")
        handle.wait()
        return comm.clock

    assert list(dist.run(main, 2, args=(0.0,), topology=wires)) == [0.006] * 2
    assert list(dist.run(main, 2, args=(0.004,), topology=wires)) == [0.006] * 2
    assert list(dist.run(main, 2, args=(0.01,), topology=wires)) == [0.01] * 2


@pytest.mark.parametrize("what", ["another group", "a message"])
def test_what_a_rank_does_meanwhile_takes_no_port_before_its_time(what):
    """A collective under way is through, at 2 ms, before its rank speaks again, at 1 s."""

    def main(comm):
        half, x = comm.split(0), np.ones(1, np.uint8)
        handle = comm.all_reduce(x, algorithm="ring", async_op=True)
        comm.compute(1.0)
        if what == "a message":
            comm.send_recv(x, 1 - comm.rank, 1 - comm.rank)
        else:
            half.all_reduce(x, algorithm="recursive doubling")
        handle.wait()
        return comm.clock

    wires = dist.FullyConnected(alpha=1e-3, bandwidth=1e12)
    for clock in dist.run(main, 2, topology=wires):
        assert clock == pytest.approx(1.001, rel=1e-9)


def test_messages_are_matched_as_receives_began():
    def main(comm):
        other = 1 - comm.rank
        early = comm.irecv(np.zeros(1), other)
        comm.isend(np.array([1.0]), other).wait()
        late = comm.send_recv(np.array([2.0]), other, other)
        return early.wait()[0], late[0]

    assert list(dist.run(main, 2)) == [(1, 2), (1, 2)]


def test_a_rank_has_its_own_messages_at_once():
    run = dist.run(lambda comm: comm.send_recv(np.ones(3), comm.rank, comm.rank), 2)
    assert [got.tolist() for got in run] == [[1, 1, 1]] * 2
    assert run.seconds == run.traffic.bytes() == 0


def test_calls_under_way_take_their_turns():
    wires = dist.FullyConnected(alpha=1e-3, bandwidth=1e9)

    def main(comm):
        handles = [comm.barrier() or comm.all_reduce(np.ones(1), async_op=True) for _ in range(3)]
        comm.all_reduce(np.ones(1))
        return [handle.wait()[0] for handle in handles], comm.clock

    for ones, clock in dist.run(main, 2, topology=wires):
        assert ones == [2, 2, 2] and clock == pytest.approx(7e-3, rel=1e-3)


@pytest.mark.parametrize(
    ("topology", "source", "destination", "want"),
    [
        (dist.FullyConnected(2.0, 10.0), 0, 3, 2 + 10),
        (dist.Ring(8, 2.0, 10.0), 0, 3, 3 * 2 + 10),
        (dist.Ring(8, 2.0, 10.0), 1, 7, 2 * 2 + 10),
        (dist.Nodes(4, 1.0, 100.0, 7.0, 10.0, 4), 4, 7, 1 + 1),
        (dist.Nodes(4, 1.0, 100.0, 7.0, 10.0, 4), 3, 4, 7 + 10),
        (dist.FatTree(4, 2, 1.0, 10.0), 0, 3, 2 + 10),
        (dist.FatTree(4, 2, 1.0, 10.0), 0, 7, 4 + 10),
    ],
)
def test_a_message_takes_what_its_wires_say(topology, source, destination, want):
    def main(comm):
        if comm.rank == source:
            comm.send(np.ones(100, np.uint8), destination)
        if comm.rank == destination:
            comm.recv(np.ones(100, np.uint8), source)

    run = dist.run(main, 8, topology=topology)
    assert run.seconds == pytest.approx(want)
    assert run.traffic.links()[f"{source} out"] == (100, 1)


@pytest.mark.parametrize(
    ("topology", "want"),
    [
        # 0 → 4, 1 → 5, 2 → 6, 3 → 7 at once, 100 s a message on a link of its own
        (dist.FullyConnected(0.0, 1.0), 100),
        (dist.Nodes(4, 0.0, 10.0, 0.0, 1.0, 4), 100),
        (dist.Nodes(4, 0.0, 10.0, 0.0, 1.0, 2), 200),
        (dist.Nodes(4, 0.0, 10.0, 0.0, 1.0, 1), 400),
        (dist.FatTree(4, 4, 0.0, 1.0), 100),
        (dist.FatTree(4, 2, 0.0, 1.0), 200),
        (dist.Ring(8, 0.0, 1.0), 400),
    ],
)
def test_messages_wait_for_the_links_that_they_share(topology, want):
    def main(comm):
        x = np.ones(100, np.uint8)
        if comm.rank < 4:
            comm.send(x, comm.rank + 4)
        else:
            comm.recv(x, comm.rank - 4)

    assert dist.run(main, 8, topology=topology).seconds == pytest.approx(want)


def test_shared_links_serve_whoever_comes_first_in_time():
    """Rank 0 begins late, though it runs first: the link is rank 1's by then."""
    wires = dist.Nodes(2, 0.0, 10.0, 0.0, 1.0, 1)

    def main(comm):
        x = np.ones(100, np.uint8)
        if comm.rank < 2:
            comm.compute(50.0 if comm.rank == 0 else 0.0)
            comm.send(x, comm.rank + 2)
        else:
            comm.recv(x, comm.rank - 2)
        return comm.clock

    assert list(dist.run(main, 4, topology=wires)) == [200, 100, 200, 100]


def test_a_trace_that_a_viewer_opens(tmp_path):
    def main(comm):
        comm.compute(0.5, "forward")
        comm.all_reduce(np.ones(3))

    run = dist.run(main, 2, topology=dist.FullyConnected(1.0, 1e9))
    assert [(e.rank, e.name, e.begin) for e in run.events if e.kind == "compute"] == [
        (0, "forward", 0.0),
        (1, "forward", 0.0),
    ]
    run.save_trace(tmp_path / "trace.json")
    rows = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    spans = [row for row in rows if row["ph"] == "X"]
    assert {(row["pid"], row["name"], row["ts"], row["dur"]) for row in spans} >= {
        (0, "forward", 0.0, 500_000.0),
        (1, "forward", 0.0, 500_000.0),
    }
    assert all(row["dur"] == pytest.approx(1e6) for row in spans if row["name"] == "all_reduce")
    assert run.timeline().axes[0].get_xlabel().startswith("time")
    assert dist.run(main, 65).events is None
    with pytest.raises(ValueError, match="timeline: no events were kept"):
        dist.run(main, 65).timeline()
    with pytest.raises(ValueError, match="no events were kept; run"):
        dist.run(main, 65).save_trace(tmp_path / "none.json")


def test_spans_of_a_trace_s_thread_do_not_overlap():
    def main(comm):
        other = comm.split(0)
        x = np.ones(1000, np.uint8)
        handles = [comm.all_reduce(x, async_op=True), other.all_gather(x, async_op=True)]
        comm.compute(1e-3)
        return [handle.wait() for handle in handles]

    run = dist.run(main, 2, topology=dist.FullyConnected(1e-3, 1e6))
    assert {(event.name, event.nbytes) for event in run.events if event.kind == "communicate"} == {
        ("all_reduce", 1000),
        ("all_gather", 1000),
    }
    threads, spans = {}, 0
    for row in trace.perfetto(run.events)["traceEvents"]:
        if row["ph"] == "X":
            threads.setdefault((row["pid"], row["tid"]), []).append((row["ts"], row["dur"]))
            spans += 1
    assert len(threads) == spans == 6
    nested = [trace.Event(0, "compute", "a", 0.0, 2.0), trace.Event(0, "compute", "b", 2.0, 3.0)]
    assert [lane for _, lane in trace.in_lanes(nested)] == [0, 0]


def test_two_runs_are_the_same():
    def main(comm):
        x = mg.dropout(mg.tensor(np.ones(50)), 0.5, training=True).numpy()
        comm.compute(1e-6 * comm.rank)
        return comm.all_reduce(x * np.sqrt(comm.rank + 1)), x

    mg.manual_seed(3)
    one = dist.run(main, 5, topology=dist.Nodes(2, cards=1))
    mg.manual_seed(3)
    two = dist.run(main, 5, topology=dist.Nodes(2, cards=1))
    assert one.seconds == two.seconds and one.events == two.events
    for (total, x), (again, _) in zip(one, two):
        assert (total == again).all()
        assert (x == one[0][1]).all()  # ranks begin with the same random numbers, each its own


# ---------------------------------------------------------------- what is wrong is told


def text_of(error):
    return "\n".join([str(error.value), *getattr(error.value, "__notes__", [])])


MISMATCHES = {
    "another collective": (
        lambda comm: comm.all_reduce(np.ones(2)) if comm.rank else comm.broadcast(np.ones(2)),
        r"rank 1 calls all_reduce\(float64 \(2,\), op='sum'\) at test_distributed.py:\d+, where "
        r"rank 0 called broadcast\(float64 \(2,\), root=0\)",
    ),
    "another shape": (
        lambda comm: comm.all_reduce(np.ones(2 + comm.rank)),
        r"float64 \(3,\).* where rank 0 .*float64 \(2,\).*; they differ in the shape",
    ),
    "another dtype": (
        lambda comm: comm.all_gather(np.ones(2, np.float32 if comm.rank else np.float16)),
        "they differ in the dtype",
    ),
    "another root": (
        lambda comm: comm.broadcast(np.ones(2), comm.rank),
        "they differ in the arguments",
    ),
    "another op": (
        lambda comm: comm.all_reduce(np.ones(2), "max" if comm.rank else "sum"),
        "they differ in the arguments",
    ),
    "another algorithm": (
        lambda comm: comm.all_reduce(np.ones(2), algorithm="tree" if comm.rank else "ring"),
        "they differ in the algorithm",
    ),
    "a call left out": (
        lambda comm: comm.all_reduce(np.ones(2)) if comm.rank else None,
        r"nobody can go on: 2 of 3 ranks wait\n"
        r"  rank 1 waits in all_reduce at test_distributed.py:\d+ for rank 0\n"
        r"  rank 2 waits in all_reduce at test_distributed.py:\d+ for rank \d\n"
        r"  rank 0 returned before",
    ),
    "a call too many": (
        lambda comm: [comm.barrier() for _ in range(2 + (comm.rank == 2))],
        r"1 of 3 ranks wait\n  rank 2 waits in barrier",
    ),
    "counts of rows that do not match": (
        lambda comm: comm.all_to_all_rows(np.ones(3), [1] * 3, [1, 1, 1 + (comm.rank == 1)]),
        r"in all_to_all_rows at \S+ rank 2 sent float64 \(1,\), rank 1 expected float64 \(2,\)",
    ),
    "everyone sends first": (
        lambda comm: (comm.send(np.ones(2), (comm.rank + 1) % 3), comm.recv(np.ones(2), 0)),
        r"rank 0 waits in send at \S+ for rank 1 to receive",
    ),
    "everyone begins to send, and waits for it": (
        lambda comm: (
            comm.isend(np.ones(2), (comm.rank + 1) % 3).wait(),
            comm.recv(np.ones(2), (comm.rank - 1) % 3),
        ),
        r"rank 0 waits in isend at \S+ for rank 1 to receive",
    ),
    "everyone receives first": (
        lambda comm: comm.recv(np.ones(2), (comm.rank + 1) % 3),
        r"rank 2 waits in recv at \S+ for rank 0",
    ),
    "a message of another shape": (
        lambda comm: (
            comm.send(np.ones(2), 1)
            if comm.rank == 0
            else comm.rank == 1 and comm.recv(np.ones(3), 0)
        ),
        r"recv: rank 0 sent float64 \(2,\), rank 1 expected float64 \(3,\)",
    ),
    "a message that nobody receives": (
        lambda comm: comm.rank or comm.isend(np.ones(2), 2),
        r"not all calls were answered\n  rank 0 sent float64 \(2,\), which rank 2 never received",
    ),
    "a root that goes on alone": (
        lambda comm: comm.rank == 2 or comm.broadcast(np.ones(2)),
        r"rank 0 called broadcast\(float64 \(2,\), root=0\) at \S+; 2 of 3 ranks of its group did",
    ),
    "a handle that waits for a rank that went": (
        lambda comm: comm.all_reduce(np.ones(2), async_op=True).wait() if comm.rank else None,
        "rank 1 waits",
    ),
    "backward without the others": (
        lambda comm: lonely_backward(comm),
        "nobody can go on",
    ),
}


def lonely_backward(comm):
    x = mg.Tensor([1.0], requires_grad=True)
    y = comm.all_reduce(x)
    if comm.rank:
        y.sum().backward()


@pytest.mark.parametrize("name", MISMATCHES)
def test_ranks_that_do_not_agree(name):
    main, words = MISMATCHES[name]
    with pytest.raises(dist.DistributedError, match=words):
        dist.run(main, 3)


def test_a_rank_that_raises_stops_all_and_is_named():
    cleaned = []

    def main(comm):
        try:
            comm.barrier()
            if comm.rank == 2:
                raise KeyError("no such layer")
            comm.all_reduce(np.ones(2))
        finally:
            cleaned.append(comm.rank)

    with pytest.raises(KeyError, match="no such layer") as error:
        dist.run(main, 4)
    assert "rank 2 of 4 raised this; the other ranks were stopped" in text_of(error)
    assert "waits in all_reduce at test_distributed.py" in text_of(error)
    assert sorted(cleaned) == [0, 1, 2, 3]


def test_a_rank_that_catches_everything_is_stopped_all_the_same():
    def main(comm):
        if comm.rank == 1:
            raise ValueError("it")
        for _ in range(3):
            try:
                comm.all_reduce(np.ones(2))
            except BaseException:
                continue
        while True:
            comm.barrier()

    with pytest.raises(ValueError, match="it"):
        dist.run(main, 3)


def test_a_thousand_ranks_tell_of_a_few():
    with pytest.raises(dist.DistributedError) as error:
        dist.run(lambda comm: comm.rank and comm.barrier(), 1024)
    assert "1023 of 1024 ranks wait" in text_of(error) and "… and 1015 more" in text_of(error)
    assert len(text_of(error)) < 2000


BAD = {
    "x is None": (lambda c: c.broadcast(None), TypeError, "rank 0 gave None; every rank gives an"),
    "a list": (lambda c: c.all_reduce([1.0]), TypeError, "rank 0 gave a list"),
    "a number": (
        lambda c: c.all_reduce(20),
        TypeError,
        r"gave 20; .*for a number, np.array\(\[20",
    ),
    "objects": (lambda c: c.all_reduce(np.array([None])), TypeError, "gave object; expected num"),
    "swapped bytes": (lambda c: c.all_reduce(np.ones(2, ">f4")), TypeError, "bytes swapped"),
    "a root": (lambda c: c.broadcast(np.ones(2), 3), ValueError, "root is 3; expected 0 to 2"),
    "an op": (lambda c: c.all_reduce(np.ones(2), "avg"), ValueError, "op is 'avg'; expected one"),
    "a mean of integers": (lambda c: c.all_reduce(np.ones(2, int), "mean"), TypeError, "mean of"),
    "an algorithm": (
        lambda c: c.all_reduce(np.ones(2), algorithm="star"),
        ValueError,
        "no algorithm 'star'; expected one of 'ring', 'tree'",
    ),
    "an axis": (lambda c: c.all_gather(np.ones(2), 1), ValueError, r"axis is 1 for x of shape \(2"),
    "no axis": (
        lambda c: c.all_gather(np.array(1.0)),
        ValueError,
        r"axis is 0 for x of shape \(\)",
    ),
    "uneven shares": (
        lambda c: c.reduce_scatter(np.ones((4, 2))),
        ValueError,
        r"axis 0 of x, shape \(4, 2\), does not divide into 3 equal shares",
    ),
    "uneven pieces": (lambda c: c.all_to_all(np.ones(4)), ValueError, "3 equal shares"),
    "counts": (
        lambda c: c.all_to_all_rows(np.ones(4), [1, 1, 1], [1, 1, 1]),
        ValueError,
        r"x has shape \(4,\), and send_counts \(1, 1, 1\) are 3 rows",
    ),
    "a partner": (lambda c: c.send(np.ones(1), 5), ValueError, "dest is 5; expected 0 to 2"),
    "oneself": (lambda c: c.recv(np.ones(1), c.rank), ValueError, "source is 0, this rank itself"),
    "work before it began": (lambda c: c.compute(-1.0), ValueError, "not be negative, got -1.0"),
    "a run in a run": (lambda c: dist.run(lambda d: 0, 2), RuntimeError, "cannot begin another"),
    "a masked array": (
        lambda c: c.all_reduce(np.ma.masked_array(np.ones(2), [0, 1])),
        TypeError,
        "rank 0 gave a masked array; fill it first",
    ),
    "a sum of records": (
        lambda c: c.all_reduce(np.zeros(2, [("a", "f4")])),
        TypeError,
        r"all_reduce: there is no sum of \[\('a', '<f4'\)\]",
    ),
    "half a message to oneself": (
        lambda c: c.send_recv(np.ones(1), c.rank, (c.rank + 1) % 3),
        ValueError,
        "dest is 0 and source 1 on rank 0; with itself, a rank can only do both",
    ),
    "a tag": (lambda c: c.send(np.ones(1), 1, -1), ValueError, "tag is -1; expected 0 to 32766"),
    "a graph sent": (
        lambda c: c.isend(mg.Tensor([1.0], requires_grad=True), 1),
        TypeError,
        "isend takes arrays, or Tensors that need no gradient",
    ),
    "a tangent under way": (
        lambda c: mg.jvp(
            lambda x: c.all_reduce(x, async_op=True).wait(), (np.ones(2),) * 1, (np.ones(2),)
        ),
        TypeError,
        "takes arrays, or Tensors that need no gradient",
    ),
    "a graph under way": (
        lambda c: c.all_reduce(mg.Tensor([1.0], requires_grad=True), async_op=True),
        TypeError,
        "takes arrays, or Tensors that need no gradient",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    main, kind, words = BAD[name]
    with pytest.raises(kind, match=words):
        dist.run(main, 3)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"size": 0}, ValueError, "size is 0; expected at least 1"),
        ({"size": 2.5}, TypeError, "integer"),
        ({"size": None}, ValueError, "size is missing"),
        ({"size": 1025}, ValueError, "runs up to 1024 ranks"),
        (
            {"size": 2, "engine": "gloo"},
            ValueError,
            "engine is 'gloo'; expected one of 'simulated'",
        ),
        ({"size": 2, "topology": dist.Ring(3)}, ValueError, r"Ring\(3\) wires 3 ranks, .* are 2"),
        ({"size": 2, "faults": [dist.Fault("die", 2, 1)]}, ValueError, "and a rank below 2"),
        ({"size": 2, "faults": dist.Fault("die", 1, 1)}, TypeError, "expected a list of Faults"),
    ],
)
def test_a_run_that_cannot_be(options, kind, words):
    with pytest.raises(kind, match=words):
        dist.run(lambda comm: 0, **options)


@pytest.mark.parametrize("kind", [dist.FullyConnected, dist.Nodes, dist.FatTree])
def test_wires_that_cannot_be(kind):
    with pytest.raises(ValueError, match=f"{kind.__name__}: alpha must be positive, got -1.0"):
        kind(alpha=-1.0)
    with pytest.raises(ValueError, match="bandwidth must be positive, got 0"):
        kind(bandwidth=0)


@pytest.mark.parametrize("rank", [0, 1])
def test_who_is_late_for_a_message_gets_on_late(rank):
    def main(comm):
        x = np.ones(1, np.uint8)
        comm.send(x, 1) if comm.rank == 0 else comm.recv(x, 0)
        return comm.clock

    wires = dist.FullyConnected(alpha=1.0, bandwidth=1e9)
    clocks = dist.run(main, 2, topology=wires, faults=[dist.Fault("late", rank, 1, 10.0)])
    assert list(clocks) == pytest.approx([11.0, 11.0] if rank == 0 else [1.0, 10.0])


def test_a_run_lasts_until_all_that_was_begun_is_done():
    wires = dist.FullyConnected(alpha=1.0, bandwidth=1e9)
    begun = lambda comm: comm.all_reduce(np.ones(1), async_op=True) and comm
    run = dist.run(begun, 2, topology=wires)
    assert run.seconds == pytest.approx(1)
    with pytest.raises(dist.DistributedError, match="the run of this communicator is over"):
        run[0].barrier()


@pytest.mark.parametrize("op", ["max", "min"])
def test_the_largest_of_what_is_no_number_is_none(op):
    x = lambda comm: np.where(np.arange(3) == comm.rank, np.nan, comm.rank)
    for got in dist.run(lambda comm: comm.all_reduce(x(comm), op), 3):
        assert np.isnan(got).all()


def test_axes_count_from_either_end():
    both = lambda comm: comm.all_gather(np.ones((1, 2)), axis=-1 if comm.rank else np.int64(1))
    assert [got.shape for got in dist.run(both, 2)] == [(1, 4)] * 2


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_matrices_are_arrays():
    x = np.asmatrix(np.arange(4.0).reshape(2, 2))
    for got in dist.run(lambda comm: comm.all_gather(x, 1), 2):
        assert type(got) is np.ndarray
        np.testing.assert_array_equal(got, [[0, 1, 0, 1], [2, 3, 2, 3]])


def test_a_send_is_answered_by_a_receive_that_has_begun():
    """Both wait for what they send first; the receives are under way."""

    def main(comm):
        other = 1 - comm.rank
        coming = comm.irecv(np.ones(2), other)
        comm.isend(np.full(2, 1.0 + comm.rank), other).wait()
        return coming.wait()[0]

    assert list(dist.run(main, 2)) == [2, 1]


def test_one_rank_is_enough():
    def main(comm):
        x = np.arange(3.0)
        return [comm.all_reduce(x), comm.all_gather(x), comm.all_to_all(x), comm.barrier()]

    (got,) = dist.run(main, 1)
    assert all((each == np.arange(3.0)).all() for each in got[:3])


# ---------------------------------------------------------------- simulated failures


def busy(comm):
    """Some of everything, in an order that depends on nothing but the rank."""
    x = np.full(6, float(comm.rank))
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    half = comm.split(comm.rank % 2)
    for step in range(3):
        x = comm.all_reduce(x) / comm.size
        handle = comm.all_gather(x, async_op=True)
        x = comm.send_recv(x, right, left)
        comm.barrier()
        x = x + handle.wait()[: x.size] + half.broadcast(x, step % half.size)
    comm.barrier()
    return x.sum()


CALLS = 1 + 3 * 5 + 1  # of each rank


@pytest.mark.parametrize("seeds", [range(start, start + 250) for start in range(0, 1000, 250)])
def test_whatever_fails_is_named_within_a_second(seeds):
    """A rank dies, leaves out a call, or makes it later than others will wait."""
    threads = threading.active_count()
    for seed in seeds:
        rng = np.random.default_rng(seed)
        kind = ("die", "skip", "late")[seed % 3]
        size = int(rng.integers(4, 9))
        rank, call = int(rng.integers(size)), int(rng.integers(1, CALLS + 1))
        fault = dist.Fault(kind, rank, call, seconds=100.0)
        begin = time.process_time()
        with pytest.raises(dist.DistributedError) as error:
            dist.run(busy, size, faults=[fault], timeout=10.0)
        assert time.process_time() - begin < 1, fault
        said = text_of(error)
        if kind == "die":
            assert f"rank {rank} died at its call number {call}, " in said
        else:
            assert "test_distributed.py" in said or "the timeout is 10 s" in said, said
    assert threading.active_count() == threads


def test_nothing_is_left_of_a_run_that_failed():
    from greenlet import greenlet

    gc.collect()
    before = sum(isinstance(each, greenlet) for each in gc.get_objects())
    for call in range(2, 8):
        with pytest.raises(dist.DistributedError):
            dist.run(busy, 8, faults=[dist.Fault("die", 3, call)])
    del call
    gc.collect()
    after = sum(isinstance(each, greenlet) for each in gc.get_objects())
    assert after <= before + 1


@pytest.mark.parametrize("use", [lambda handle: handle[0], lambda handle: handle.sum()])
def test_what_is_under_way_is_no_array_yet(use):
    with pytest.raises((TypeError, AttributeError), match=r"Handle.*wait\(\) gives the array"):
        dist.run(lambda comm: use(comm.all_reduce(np.ones(2), async_op=True)), 2)
