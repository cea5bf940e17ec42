"""Exercises whose functions run on several ranks: how they are called, judged and told off."""

import inspect

import numpy as np
import pytest

from minigrad import distributed as dist
from minigrad.course import answers, plugin, testing
from minigrad.course.testing import at_most, but, expect, explained, per_rank
from minigrad.distributed.watched import NAMES, Watched
from minigrad.sandbox import Limits, Sandbox, verdicts

CODE = """\
import numpy as np

seen = []


def ring_sum(comm, x, scale=1.0):
    seen.append(comm.rank)
    right, left = (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size
    total, going = x.copy(), x
    for _ in range(comm.size - 1):
        going = comm.send_recv(going, right, left)
        total += going
    return total * scale


def who_was_here(comm):
    seen.append(comm.rank)
    return seen


def sends_first(comm, x):
    comm.send(x, (comm.rank + 1) % comm.size)
    return comm.recv(x, (comm.rank - 1) % comm.size)


def receives_first(comm, x):
    y = comm.recv(x, (comm.rank - 1) % comm.size)
    comm.send(x, (comm.rank + 1) % comm.size)
    return y


def sends_to_nobody(comm, x):
    if comm.rank == 0:
        comm.isend(x, 1)
    return x


def awaits_nobody(comm, x):
    if comm.rank:
        return x
    return comm.recv(x, 1)


def disagrees(comm, x):
    if comm.rank:
        return comm.all_reduce(x)
    return comm.all_reduce(x[:1])


def sends_before_it_receives(comm, x):
    comm.isend(x, (comm.rank + 1) % comm.size).wait()
    return comm.recv(x, (comm.rank - 1) % comm.size)


def stands_face_to_face(comm, x):
    if comm.rank == 0:
        comm.isend(x, 1)
        comm.send(x, 1)
    elif comm.rank == 1:
        comm.send(comm.recv(x, 0), 0)
    return x


def listens_to_the_wrong_side(comm, x):
    comm.isend(x, (comm.rank + 1) % comm.size)
    return comm.recv(x, (comm.rank + 1) % comm.size)


def goes_missing(comm, x):
    if comm.rank == 1:
        return x
    return comm.all_reduce(x)


def one_raises(comm, x):
    if comm.rank == 2:
        return x[comm.rank]
    comm.barrier()


def uses_all(comm, x):
    try:
        return comm.all_reduce(x, "max")
    except BaseException:
        return x


def splits_and_uses_all(comm, x):
    return comm.split(comm.rank % 2).all_reduce(x, "max")


def guesses(comm, x):
    return comm.allreduce(x)


def changes(comm, x):
    if comm.rank == 1:
        x += 1
    return x.sum()


def gives_itself(comm, x):
    return comm if comm.rank == 1 else x


def stub(comm, x):
    raise NotImplementedError("ex91_ranks: stub")


def needs_a_stub(comm, x):
    return stub(comm, x)


def doubled(x):
    return 2 * x


def never_ends(comm, x):
    while True:
        x = comm.send_recv(x, (comm.rank + 1) % comm.size, (comm.rank - 1) % comm.size)


def imports(comm):
    from minigrad import distributed


def works(comm, seconds):
    comm.compute(seconds, "own work")
    with comm.phase("gradients"):
        return float(comm.all_reduce(np.array(comm.rank))), comm.clock


def calls_given(comm, f, x):
    return f(x) + comm.rank
"""
FORGED = (
    CODE
    + """

class Liar(dict):
    pass


def lies(comm):
    import sys
    worker = sys.modules["__main__"]
    worker.ranks.run = lambda *_: ([("value", 1, [])] * 2, {"seconds": "none"})
"""
)
GIVEN = "def power(n):\n    return lambda x: x**n\n"
POINT_TO_POINT = ("send", "recv", "send_recv", "isend", "irecv")
X = np.arange(12.0).reshape(3, 4) ** 2  # a row for each of three ranks


@pytest.fixture(scope="module", params=["here", "behind the wall"])
def answer(request, tmp_path_factory):
    """The functions above, in this process and in one of their own."""
    folder = tmp_path_factory.mktemp("answer")
    (folder / "ex91_ranks.py").write_text(CODE)
    given = tmp_path_factory.mktemp("given") / "_given.py"
    given.write_text(GIVEN)
    parameters = answers.parameters(folder / "ex91_ranks.py")
    if request.param == "here":
        runner = answers.LocalAnswer(folder, "ex91_ranks", given)
        yield answers.Answer(runner.call, parameters, runner.launch, runner.on_ranks)
        return
    with Sandbox(folder, "ex91_ranks", given=given, limits=Limits(20, 60), tier="process") as box:
        yield answers.Answer(box.call, parameters, box.launch, box.on_ranks)


def line_of(words):
    """The number of the line of the code that holds some words."""
    return next(i for i, line in enumerate(CODE.splitlines(), 1) if words in line)


def test_every_rank_gets_its_own_and_the_shared_arguments(answer):
    run = answer.ring_sum.on_ranks(3)(per_rank(X), scale=2.0)
    expect(run, [2 * X.sum(axis=0)] * 3)
    expect(run[2], 2 * X.sum(axis=0))
    run = answer.ring_sum.on_ranks(3)(X[1], scale=per_rank([1.0, 2.0, -1.0]))
    expect(list(run), [3 * X[1], 6 * X[1], -3 * X[1]])
    assert len(run) == 3


def test_what_the_simulator_counts_comes_along(answer):
    run = answer.ring_sum.on_ranks(3, topology=dist.FullyConnected(1.0, 32.0))(per_rank(X))
    assert run.traffic.sent() == [2 * 32] * 3
    assert run.traffic.messages(source=1, destination=2) == 2
    assert run.called("send_recv") == [2, 2, 2]
    assert run.called("all_reduce") == [0, 0, 0]
    assert run.calls == {"send_recv": [2, 2, 2]}
    assert run.seconds == 2 * (1.0 + 1.0)
    run = answer.works.on_ranks(2)(per_rank([0.5, 0.25]))
    assert run.traffic.bytes(phase="gradients") == run.traffic.bytes() > 0
    compute = [(e.rank, e.name, e.begin, e.end) for e in run.events if e.kind == "compute"]
    assert sorted(compute) == [(0, "own work", 0.0, 0.5), (1, "own work", 0.0, 0.25)]
    assert run[0] == (1.0, run.seconds) and run.called("compute") == [1, 1]
    assert run.called("phase") == [1, 1]


def test_ranks_share_no_variable_of_the_file(answer):
    before = [len(result) for result in answer.who_was_here.on_ranks(3)()]
    run = answer.who_was_here.on_ranks(3)()
    assert [set(result) for result in run] == [{0}, {1}, {2}]
    assert [len(result) for result in run] == [length + 1 for length in before]


def test_a_wrong_answer_says_which_rank_and_which_mistake(answer):
    run = answer.ring_sum.on_ranks(3)(per_rank(X))
    want = [X.sum(axis=0)] * 2 + [X.sum(axis=0) + 1]
    with pytest.raises(verdicts.Wrong) as failure:
        expect(run, want, mistakes={"one is missing": lambda: [X.sum(axis=0)] * 3})
    assert "What rank 2 returns is not right." in str(failure.value)
    assert "Likely mistake: one is missing." in str(failure.value)
    assert "on 3 ranks" in str(failure.value)
    assert "comm,\n    per_rank([[0., 1., 4., 9.], [16., 25.," in str(failure.value)
    with pytest.raises(verdicts.Wrong, match="What rank 1 returns is not right"):
        expect(run[1], X[0])
    run = answer.who_was_here.on_ranks(2)()
    with pytest.raises(verdicts.Wrong, match=r"Element \[0\] of what rank 1 returns"):
        expect(run, [list(run[0]), [5] * len(run[1])])


@pytest.mark.parametrize(
    ("function", "words", "advice"),
    [
        ("sends_first", "rank 1 waits in send", "every rank sends first"),
        ("receives_first", "rank 0 waits in recv", "every rank receives first"),
        ("sends_to_nobody", "which rank 1 never received", "something was sent"),
        ("awaits_nobody", "1, 2 returned before", "no rank sends any more"),
        ("sends_before_it_receives", "rank 1 waits in isend", ".wait() belongs behind the recv"),
        ("stands_face_to_face", "rank 2 returned", "a message is sent that no rank receives"),
        ("listens_to_the_wrong_side", "rank 2 waits in recv", "has sent it to another rank"),
        ("disagrees", "ranks do not agree on call 1", "the same collective calls"),
        ("goes_missing", "rank 0 waits in all_reduce", "not called by every rank"),
    ],
)
def test_a_deadlock_is_told_with_its_line_and_its_likely_cause(answer, function, words, advice):
    with pytest.raises(verdicts.Raised) as failure:
        getattr(answer, function).on_ranks(3)(X[0])
    assert failure.value.error == "DistributedError"
    assert words in str(failure.value)
    assert f"Likely mistake: {advice}" in str(failure.value) or advice in str(failure.value)
    assert "ex91_ranks.py:" not in str(failure.value)
    if function == "sends_to_nobody":
        return
    file, line, name, text = failure.value.frames[-1]
    assert (file, name) == ("ex91_ranks.py", function)
    assert CODE.splitlines()[line - 1].strip() == text


def test_two_ranks_that_send_to_each_other_are_named(answer):
    with pytest.raises(verdicts.Raised) as failure:
        answer.stands_face_to_face.on_ranks(2)(np.ones((5, 7)))
    assert "rank 0 waits for rank 1 to take what it sends, while rank 1" in str(failure.value)
    told = plugin.message(failure.value)
    assert told.startswith("stands_face_to_face(comm, <array of shape (5, 7), float64>)\non 2")
    with pytest.raises(verdicts.Raised) as failure:
        answer.stands_face_to_face.on_ranks(2)(per_rank([X[0], X[1]]))
    told = plugin.message(failure.value)
    assert "[0., 1., 4., 9.]" in told


def test_where_values_are_right_arrays_are_not_shown(answer):
    run = answer.ring_sum.on_ranks(3)(per_rank(np.ones((3, 2, 4))), scale=2.0)
    arrays = "per_rank([<array of shape (2, 4), float64>] * 3)"
    call = f"ring_sum(comm, {arrays}, scale=2.0)\non 3 ranks"
    with pytest.raises(verdicts.TooCostly) as failure:
        at_most(max(run.traffic.sent()), 1, "bytes")
    assert str(failure.value).startswith(call)
    with pytest.raises(verdicts.NotAsAsked) as failure:
        but("rank 0 sends to rank 2.")
    assert str(failure.value) == f"{call}\n\nThe values are right. But rank 0 sends to rank 2."
    answer.ring_sum.on_ranks(1)(X[0])
    with pytest.raises(verdicts.NotAsAsked, match=r"9\.\]\)\non 1 rank\n\nThe values"):
        but("that is all.")


def test_a_rank_that_raises_is_named_with_its_line(answer):
    with pytest.raises(verdicts.Raised) as failure:
        answer.one_raises.on_ranks(4)(np.zeros(2))
    assert failure.value.error == "IndexError"
    assert "rank 2 of 4 raised this" in str(failure.value)
    assert f"rank 0 waits in barrier in line {line_of('comm.barrier()')}" in str(failure.value)
    assert failure.value.frames[-1][:3] == (
        "ex91_ranks.py",
        line_of("return x[comm.rank]"),
        "one_raises",
    )
    assert "comm" in plugin.described(failure.value)


def test_an_exception_can_have_a_likely_mistake(answer):
    with pytest.raises(verdicts.Raised) as failure, explained(IndexError="x is too short"):
        answer.one_raises.on_ranks(4)(np.zeros(2))
    assert str(failure.value).endswith("\n\nLikely mistake: x is too short.")
    with pytest.raises(verdicts.Raised) as failure, explained(KeyError="no", IndexError=None):
        answer.one_raises.on_ranks(4)(np.zeros(2))
    assert "Likely" not in str(failure.value)


@pytest.mark.parametrize("function", ["uses_all", "splits_and_uses_all"])
def test_what_may_not_be_used_is_refused_even_if_that_is_caught(answer, function):
    with pytest.raises(verdicts.NotAllowed) as failure:
        getattr(answer, function).on_ranks(2, may_use=(*POINT_TO_POINT, "split"))(X[0])
    assert "calls all_reduce of the communicator" in str(failure.value)
    lines = [i for i, line in enumerate(CODE.splitlines(), 1) if '"max"' in line]
    assert f"line {lines['split' in function]} " in str(failure.value)
    run = getattr(answer, function).on_ranks(2)(X[0])
    assert run.called("all_reduce") == [1, 1]


def test_other_words_for_a_method_are_put_right(answer):
    with pytest.raises(verdicts.Raised, match="no 'allreduce'; is all_reduce meant"):
        answer.guesses.on_ranks(2)(X[0])


def test_the_usual_failures_are_the_usual_ones(answer):
    with pytest.raises(verdicts.Changed, match="changes its argument x in place"):
        answer.changes.on_ranks(2)(per_rank(X[:2]))
    with pytest.raises(verdicts.NotPlain, match="rank 1 returned it"):
        answer.gives_itself.on_ranks(2)(X[0])
    with pytest.raises(verdicts.Unwritten, match="stub is not written yet"):
        answer.stub.on_ranks(2)(X[0])
    with pytest.raises(verdicts.Unwritten, match="stub is not written yet, and needs_a_stub needs"):
        answer.needs_a_stub.on_ranks(2)(X[0])
    with pytest.raises(verdicts.Missing, match="no function nothing"):
        answer.nothing.on_ranks(2)(X[0])
    with pytest.raises(verdicts.NotAllowed, match="imports minigrad"):
        answer.imports.on_ranks(2)()


def test_given_functions_are_built_for_every_rank(answer):
    run = answer.calls_given.on_ranks(2)(testing.given("power", 3), per_rank([2, 3]))
    assert list(run) == [8, 28]


def test_a_process_that_has_only_answered_plain_calls_makes_way(tmp_path):
    (tmp_path / "ex91_ranks.py").write_text(CODE)
    with Sandbox(tmp_path, "ex91_ranks", tier="process") as box:
        answer = answers.Answer(box.call, {}, box.launch, box.on_ranks)
        assert answer.doubled(4) == 8
        assert answer.ring_sum.on_ranks(2)(X[0])[1].tolist() == (2 * X[0]).tolist()
        assert answer.doubled(5) == 10


def test_plain_calls_and_calls_on_ranks_mix(answer):
    with pytest.raises(verdicts.Missing, match="nothing"):
        answer.nothing(1)
    expect(answer.ring_sum.on_ranks(1)(X[0])[0], X[0])
    with pytest.raises(verdicts.Raised, match="'float' object has no attribute 'rank'"):
        answer.ring_sum(3.0, X[0])


def test_a_test_that_has_a_value_too_few_is_the_tests_mistake(answer):
    with pytest.raises(ValueError, match="2 values for 3 ranks"):
        answer.ring_sum.on_ranks(3)(per_rank(X[:2]))


def test_a_run_that_never_ends_is_stopped(tmp_path):
    (tmp_path / "ex91_ranks.py").write_text(CODE)
    with Sandbox(tmp_path, "ex91_ranks", limits=Limits(1, wall=3)) as box:
        answer = answers.Answer(box.call, {}, box.launch, box.on_ranks)
        with pytest.raises(verdicts.TimedOut):
            answer.never_ends.on_ranks(2)(X[0])


def test_a_forged_account_is_refused(tmp_path):
    (tmp_path / "ex91_ranks.py").write_text(FORGED)
    with Sandbox(tmp_path, "ex91_ranks") as box:
        answer = answers.Answer(box.call, {}, box.launch, box.on_ranks)
        assert answer.lies.on_ranks(2)()[0] is None
        with pytest.raises(verdicts.Died, match="something of its own"):
            answer.lies.on_ranks(2)()


def test_a_watched_communicator_has_the_methods_of_one():
    public = {name for name, _ in inspect.getmembers(dist.Communicator) if name[0] != "_"}
    assert public - set(NAMES) == {"apply", "engine"}
    with pytest.raises(AttributeError, match="it has all_gather, all_reduce"):
        Watched(dist.Communicator(), None, None).xyzzy()
    assert repr(Watched(dist.Communicator(), None, None)) == "<communicator: rank 0 of 1>"
