"""Code in a sandbox and in this process: the same values, the same words for what goes wrong."""

import sys
import textwrap

import numpy as np
import pytest

from minigrad import sandbox
from minigrad.course.answers import LocalAnswer
from minigrad.sandbox import verdicts

CODE = """
import math
import random

import numpy as np

import helper

print("read")


def double(x):
    print("called with", x)
    return 2 * x


def nested(x, *, scale=1.0):
    return {"a": (x, [scale, None, True]), 3: helper.name}


def apply(f, x):
    return f(f(x))


def ours(pairs):
    return [f(x) for f, x in pairs]


def unwritten(x):
    raise NotImplementedError("ex99_topic: unwritten")


def needs(x):
    return unwritten(x)


def crash(x):
    return inner(x)


def inner(x):
    return 1 / x


def strange(x):
    return {x}


def change(x, y):
    y[0] = 5
    return x + y


def echo(x):
    return x


def forbidden(x):
    return np.einsum("i->", x)


def hidden(x):
    try:
        return getattr(np, "ein" + "sum")("i->", x)
    except BaseException:
        return 3.0


def reduced(x):
    return np.logaddexp.reduce(x)


def library(x):
    from minigrad import grad

    return grad


def drawn():
    chance = np.random.default_rng().normal(), np.random.normal(), random.random()
    return [*chance, np.random.default_rng().normal()]


def counted():
    counted.n = getattr(counted, "n", 0) + 1
    return counted.n


NUMBER = 5
"""


GIVEN = """
class Refused(Exception):
    pass


def add(n):
    return lambda x: x + n


def shy():
    def f(x):
        raise Refused("not in this way")
    return f


def broken():
    return lambda x: {}[x]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("answers")
    (folder / "ex99_topic.py").write_text(CODE)
    (folder / "helper.py").write_text("name = 'a helper'\n")
    (folder / "_given.py").write_text(GIVEN)
    (folder / "ex98_syntax.py").write_text("def f(:\n    pass\n")
    (folder / "ex97_null.py").write_bytes(b"x = 1\0\n")
    (folder / "ex96_exits.py").write_text("import os\nos._exit(0)\n")
    (folder / "ex95_raises.py").write_text("raise SystemExit(0)\n")
    (folder / "ex94_bom.py").write_bytes(b"\xef\xbb\xbfdef f():\r\n    return 'b\xc3\xa4r'\r\n")
    (folder / "ex93_imports.py").write_text("import minigrad\n")
    (folder / "ex92_long.py").write_text("#" * (1 << 20) + "\n")
    return folder


@pytest.fixture(scope="module", params=["here", "open"])
def opened(request, folder):
    """A function that opens a file of the folder, in this process and in a sandbox."""
    boxes = []

    def open_(name="ex99_topic", may_not_call=("numpy.einsum", "numpy.logaddexp")):
        given = folder / "_given.py"
        if request.param == "here":
            return LocalAnswer(folder, name, given, may_not_call=may_not_call)
        boxes.append(sandbox.Sandbox(folder, name, given=given, may_not_call=may_not_call))
        return boxes[-1]

    yield open_
    for box in boxes:
        box.close()


@pytest.fixture(scope="module")
def answer(opened):
    return opened()


def test_values_pass_both_ways(answer):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    doubled = answer.call("double", x)
    assert doubled.dtype == np.float32
    np.testing.assert_array_equal(doubled, 2 * x)
    back = answer.call("nested", "ä", scale=np.float64(0.5))
    assert back == {"a": ("ä", [0.5, None, True]), 3: "a helper"}


def test_given_functions_are_built_where_the_answer_runs(answer):
    add = sandbox.Given("add", (2.5,))
    assert answer.call("apply", add, 1) == 6.0
    assert answer.call("ours", [(add, 1), (sandbox.Given("add", (1,)), 2)]) == [3.5, 3]


def test_a_given_function_can_say_that_it_is_misused(answer):
    with pytest.raises(verdicts.Refused, match=r"^not in this way$"):
        answer.call("apply", sandbox.Given("shy", ()), 1)
    with pytest.raises(verdicts.Raised, match="KeyError: 1") as caught:
        answer.call("apply", sandbox.Given("broken", ()), 1)
    assert [name for _, _, name, _ in caught.value.frames] == ["apply"]


def test_one_module_lives_through_all_calls(answer):
    first = answer.call("counted")
    assert answer.call("counted") == first + 1


def test_what_is_returned_is_a_copy(answer):
    x = np.zeros(3)
    echoed = answer.call("echo", x)
    echoed[0] = 1
    assert x[0] == 0


@pytest.mark.parametrize(
    ("function", "argument", "failure", "words"),
    [
        ("unwritten", 1.0, verdicts.Unwritten, "unwritten is not written yet$"),
        ("needs", 1.0, verdicts.Unwritten, "unwritten is not written yet, and needs needs it"),
        ("crash", 0, verdicts.Raised, "ZeroDivisionError: division by zero"),
        ("strange", 1, verdicts.NotPlain, "the value is of type set"),
        ("absent", 1, verdicts.Missing, r"ex99_topic\.py has no function absent"),
        ("NUMBER", 1, verdicts.Missing, "has no function NUMBER"),
        ("forbidden", np.ones(2), verdicts.NotAllowed, r"line \d+ calls numpy\.einsum"),
        ("hidden", np.ones(2), verdicts.NotAllowed, r"calls numpy\.einsum"),
        ("reduced", np.ones(2), verdicts.NotAllowed, r"line \d+ calls numpy\.logaddexp"),
        ("library", 1, verdicts.NotAllowed, r"line \d+ imports minigrad"),
    ],
)
def test_each_way_to_fail_has_words_of_its_own(answer, function, argument, failure, words):
    with pytest.raises(failure, match=words):
        answer.call(function, argument)


def test_an_exception_comes_with_the_lines_that_led_to_it(answer):
    with pytest.raises(verdicts.Raised) as caught:
        answer.call("crash", 0)
    lines = CODE.split("\n")
    assert [(file, name, text) for file, _, name, text in caught.value.frames] == [
        ("ex99_topic.py", "crash", "return inner(x)"),
        ("ex99_topic.py", "inner", "return 1 / x"),
    ]
    for _, number, _, text in caught.value.frames:
        assert lines[number - 1].strip() == text


def test_a_change_of_an_argument_is_named(answer):
    y = np.zeros(2)
    with pytest.raises(verdicts.Changed, match="change changes its argument y in place"):
        answer.call("change", 1.0, y)
    assert y[0] == 0


@pytest.mark.parametrize(
    ("name", "failure", "words"),
    [
        ("ex98_syntax", verdicts.Unreadable, r"ex98_syntax\.py, line 1: .*\n    def f\(:"),
        ("ex97_null", verdicts.Unreadable, "null bytes"),
        ("ex95_raises", verdicts.Raised, "SystemExit"),
        ("ex93_imports", verdicts.NotAllowed, r"ex93_imports\.py, line 1 imports minigrad"),
        ("ex92_long", verdicts.Unreadable, "more than 1,048,576 bytes"),
        ("ex90_absent", verdicts.Unreadable, r"ex90_absent\.py cannot be read: No such file"),
    ],
)
def test_a_file_that_cannot_be_run_says_why(opened, name, failure, words):
    answer = opened(name)
    for _ in range(2):  # and again: the second call is no wiser
        with pytest.raises(failure, match=words):
            answer.call("f")


def test_bom_and_carriage_returns_are_python_too(opened):
    assert opened("ex94_bom").call("f") == "bär"


def test_what_is_forbidden_is_there_again_afterwards(answer, folder):
    with pytest.raises(verdicts.NotAllowed):
        answer.call("forbidden", np.ones(2))
    assert np.einsum("i->", np.ones(2)) == 2
    assert str(folder) not in sys.path
    assert "minigrad" in sys.modules and __import__("minigrad") is sys.modules["minigrad"]


def test_what_the_code_prints_is_kept_apart(folder):
    with sandbox.Sandbox(folder, "ex99_topic", limits=sandbox.Limits(output=40)) as box:
        assert box.call("double", 4) == 8
        box.close()
        assert box.output == "read\ncalled with 4\n"
    with sandbox.Sandbox(folder, "ex99_topic", limits=sandbox.Limits(output=10)) as box:
        box.call("double", 4)
        box.close()
        assert box.output == "read\ncalle\n… and 9 bytes more"


def test_a_warning_is_printed_in_few_words_and_once(tmp_path):
    code = """
        import warnings

        import numpy as np

        def f(x):
            warnings.warn("x is old")
            np.mean(x)
            return np.log(-1 - x.sum())
        """
    (tmp_path / "ex99_topic.py").write_text(textwrap.dedent(code), encoding="utf-8")
    with sandbox.Sandbox(tmp_path, "ex99_topic") as box:
        for _ in range(2):
            box.call("f", np.zeros(0))
        box.close()
        assert box.output.replace("slice.", "slice").splitlines() == [
            "ex99_topic.py:7: x is old",
            "ex99_topic.py:8: Mean of empty slice",
            "ex99_topic.py:8: invalid value encountered in scalar divide",
            "ex99_topic.py:9: invalid value encountered in log",
        ]


def test_a_process_that_ends_is_told_apart_and_the_next_call_starts_anew(folder):
    with sandbox.Sandbox(folder, "ex96_exits") as box:
        for _ in range(2):
            with pytest.raises(verdicts.Died, match=r"ended its own process \(exit status 0\)"):
                box.call("f")
    with sandbox.Sandbox(folder, "ex99_topic") as box:
        assert box.call("counted") == 1
        box.close()
        assert box.call("counted") == 1


def test_no_time_is_left_after_a_time_out(tmp_path):
    code = """
        import time

        def sleep(seconds):
            time.sleep(seconds)
            return seconds
        """
    (tmp_path / "ex99_topic.py").write_text(textwrap.dedent(code))
    with sandbox.Sandbox(tmp_path, "ex99_topic", limits=sandbox.Limits(1, wall=0.5)) as box:
        assert box.call("sleep", 0.01) == 0.01
        for _ in range(2):
            with pytest.raises(verdicts.TimedOut, match="may take 1 seconds"):
                box.call("sleep", 30.0)


def test_time_can_be_had_anew_once_after_a_time_out(tmp_path):
    (tmp_path / "ex99_topic.py").write_text("import time\n\nsleep = time.sleep\n")
    limits = sandbox.Limits(1, wall=0.4, renewals=1)
    with sandbox.Sandbox(tmp_path, "ex99_topic", limits=limits) as box:
        box.call("sleep", 0.01)
        with pytest.raises(verdicts.TimedOut):
            box.call("sleep", 30.0)
        assert box.call("sleep", 0.01) is None
        for _ in range(2):
            with pytest.raises(verdicts.TimedOut):
                box.call("sleep", 30.0)


def test_chance_without_a_seed_is_the_same_in_every_run(folder):
    drawn = []
    for _ in range(2):
        with sandbox.Sandbox(folder, "ex99_topic") as box:
            drawn.append(box.call("drawn"))
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 4


def test_a_sandbox_that_cannot_start_is_nobodys_fault(folder, tmp_path):
    broken = tmp_path / "_given.py"
    broken.write_text("def f(:\n")
    with (
        sandbox.Sandbox(folder, "ex99_topic", given=broken) as box,
        pytest.raises(sandbox.Fault, match="no sandbox of tier 'open' can start"),
    ):
        box.call("double", 1)
    with pytest.raises(ValueError, match="tier must be one of namespaces, user, process, open"):
        sandbox.Sandbox(folder, "ex99_topic", tier="wishful")


@pytest.mark.parametrize(
    "reply",
    [
        None,
        (),
        ("value",),
        ("value", 1, [1]),
        ("passed", 1, []),
        ("raised", "E", "m", [("f", 1, "g")]),
        ("raised", "E", 1, []),
        "value",
    ],
)
def test_a_forged_reply_is_no_answer(reply):
    with pytest.raises(verdicts.Died, match="wrote something of its own"):
        verdicts.value_of(reply, "f")
