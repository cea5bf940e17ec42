"""Kernels that learners write: what the language allows, and what is found when one runs."""

import re
import textwrap

import numpy as np
import pytest

from minigrad.course import answers, testing
from minigrad.sandbox import Limits, Sandbox, language, verdicts

HEAD = """
import numpy as np
from kernels import cuda

HALF = 4
WIDTH = 2 * HALF

@cuda.jit(device=True)
def twice(x):
    return 2 * x

@cuda.jit
def work(x, out):
    '''Kernels may say what they do.'''
    i = cuda.grid(1)
"""
GOOD = """
    tile = cuda.shared.array((WIDTH,), np.float32)
    t = cuda.threadIdx.x
    tile[t] = x[i] if i < x.size else 0.0
    cuda.syncthreads()
    if i < out.size:
        out[i] = twice(tile[WIDTH - 1 - t]) + max(t, 0)
"""


def written(folder, body, head=HEAD):
    """A file with a kernel of that body, and the text of it."""
    text = head + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ") + "\n"
    (folder / "ex90_kernels.py").write_text(text)
    return text


def refused(body):
    """The words and the line with which a kernel of that body is refused."""
    text = HEAD + textwrap.indent(textwrap.dedent(body).strip("\n"), "    ") + "\n"
    with pytest.raises(language.LanguageError) as error:
        language.kernel_code(text, "work", "ex90_kernels.py")
    assert text.splitlines()[error.value.line - 1].strip() in body
    return str(error.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("import os", "an import"),
        ("x.base = 3", "an assignment to an attribute"),
        ("y = x.base", "shape, .size and .ndim only"),
        ("y = x.__class__", "shape, .size and .ndim only"),
        ("y = (1).__class__", "shape, .size and .ndim only"),
        ("y = cuda.api", "cuda.api is nothing that a kernel may use"),
        ("y = cuda.thread_idx.x", "may use here: write cuda.threadIdx.x"),
        ("y = cuda.sync_threads()", "write cuda.syncthreads"),
        ("y = np.exp(x[0])", "write math.exp"),
        ("y = np.maximum(x[0], 1)", "write max"),
        ("y = np.zeros(4)", "write cuda.shared.array or cuda.local.array"),
        ("y = float('-inf')", "not '-inf': write -math.inf"),
        ("y = cuda.local.array(HALF, 'float32')", "write np.float32, without quotes"),
        ("y = [0.0] * HALF", "a list: cuda.local.array"),
        ("y = cuda.shared.array(x.size, np.float32)", "or a constant of the file, such as HALF"),
        ("y = cuda.local.array((2, cuda.blockDim.x), np.float32)", "when the kernel is compiled"),
        ("y = cuda.local.array(shape=i, dtype=np.float32)", "when the kernel is compiled"),
        ("HALF = 3\ny = cuda.local.array(HALF, np.float32)", "when the kernel is compiled"),
        ("y = cuda.jit(twice)", "cuda.jit is nothing that a kernel may use"),
        ("y = cuda", "cuda stands alone"),
        ("y = np.load(3)", "np.load is nothing that a kernel may use"),
        ("y = open(3)", "a kernel cannot call open"),
        ("y = __import__(3)", "a kernel cannot call __import__"),
        ("y = __builtins__", "nothing that a kernel knows"),
        ("y = 'text'", "numbers only"),
        ("y = f'{i}'", "a string"),
        ("y = [1, 2]", "a list"),
        ("y = [j for j in range(3)]", "a comprehension"),
        ("y = (lambda: 3)()", "cannot call this"),
        ("y = x[0:2]", "a slice"),
        ("y = x @ x", "no operator @"),
        ("y = i in x", "no operator in"),
        ("global y", "global"),
        ("try:\n    pass\nfinally:\n    pass", "try"),
        ("with x:\n    pass", "with"),
        ("for y in x:\n    pass", "for i in range"),
        ("return x", "a kernel returns nothing"),
        ("raise ValueError(3)", "raise"),
        ("y = unknown", "unknown is nothing that a kernel knows"),
        ("y = twice", "is not called here"),
        ("y = work(x, out)", "calls itself"),
        ("y = max(*x)", "a star"),
        ("y = max(**x)", "no **"),
        ("(y := 3)", ":="),
    ],
)
def test_what_is_no_kernel_language_is_refused_with_its_line(body, words):
    assert words in refused(body)


def test_a_word_of_the_language_is_no_variable():
    with pytest.raises(language.LanguageError, match="max is a word of the language"):
        language.kernel_code(HEAD + "    max = 3\n", "work", "x.py")


def test_only_the_kernel_and_what_it_needs_is_taken_from_a_file():
    text = "raise SystemExit\n" + HEAD + GOOD
    code, parameters = language.kernel_code(text, "work", "x.py")
    assert parameters == ["x", "out"]
    assert set(code.co_names) >= {"HALF", "WIDTH", "twice", "work"}
    assert "SystemExit" not in code.co_names


def test_a_missing_kernel_a_plain_function_and_a_stub_are_told_apart():
    with pytest.raises(language.MissingError, match="no kernel other"):
        language.kernel_code(HEAD + GOOD, "other", "x.py")
    with pytest.raises(language.MissingError, match=r"@cuda\.jit belongs above it"):
        language.kernel_code("def work(x):\n    pass\n", "work", "x.py")
    with pytest.raises(language.UnwrittenError, match="ex90_kernels: work"):
        stub = HEAD + '    raise NotImplementedError("ex90_kernels: work")\n'
        language.kernel_code(stub, "work", "x.py")


@pytest.fixture(params=["here", "behind the wall"])
def answer(request, tmp_path):
    """A function that makes an Answer of a kernel's body, in this process and in a sandbox."""
    opened = []

    def of(body, head=HEAD):
        written(tmp_path, body, head)
        imports = ("numpy", "kernels")
        if request.param == "here":
            runner = answers.LocalAnswer(tmp_path, "ex90_kernels", may_import=imports)
        else:
            runner = Sandbox(tmp_path, "ex90_kernels", may_import=imports)
            opened.append(runner)
        return answers.Answer(runner.call, {"work": ["x", "out"]}, runner.launch)

    yield of
    for runner in opened:
        runner.close()


X = np.arange(10, dtype=np.float32)


def nothing():
    return np.full(10, np.nan, np.float32)


def test_a_kernel_runs_and_is_watched(answer):
    run = answer(GOOD).work[2, 8](X, out=nothing())
    padded = np.concatenate([X, np.zeros(6, np.float32)]).reshape(2, 8)
    want = (2 * padded[:, ::-1] + np.arange(8)).reshape(-1)[:10]
    np.testing.assert_array_equal(run["out"], want)
    told = {"count": 10, "bytes": 40, "requests": 2, "transfers": 2, "most": 1}
    assert run.reads("x") == told
    assert run.writes("shared")["count"] == 16
    assert run.races == []


def test_a_kernel_may_print_for_who_looks_for_a_mistake(answer):
    run = answer("if i < out.size:\n    print('thread', i)\n    out[i] = x[i]").work[2, 8](
        X, out=nothing()
    )
    np.testing.assert_array_equal(run["out"], X)


def test_a_missing_barrier_is_a_race_with_both_lines(answer):
    body = GOOD.replace("    cuda.syncthreads()\n", "")
    with pytest.raises(verdicts.Wrong, match=r"line 18.*line 20(.|\n)*a barrier is missing"):
        answer(body).work[2, 8](X, out=nothing())


def test_an_index_outside_names_the_array_and_the_thread(answer):
    with pytest.raises(verdicts.Raised, match=r"\[10\] is outside of x(.|\n)*is not kept") as error:
        answer("out[i] = x[i]").work[2, 8](X, out=nothing())
    assert error.value.error == "IndexError"
    assert error.value.frames[-1][1] == 16


SUMS = """
    sums = cuda.local.array(2, np.float32)
    for k in range(2):
        sums[k] += x[k]
    if i < out.size:
        out[i] = sums[0]
"""
BARRIER = "    cuda.syncthreads()\n"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (SUMS, r"\[0\] of sums is read in line 18 \(by .*: sums holds nothing useful at first"),
        (GOOD.replace("tile[t]", "if t < 7:\n        tile[t]"), r"\[7\] of tile .*NaN. Write all"),
        (
            GOOD.replace("    tile = ", "    if i >= 10:\n        return\n    tile = "),
            "of tile is read .*at the barrier in line 21, threads 2 to 7 had ended.* returns early",
        ),
    ],
)
def test_what_nobody_wrote_explains_nan(answer, body, words):
    run = answer(body).work[2, 8](X, out=nothing())
    with pytest.raises(verdicts.Wrong) as error:
        testing.expect(run["out"], np.zeros(10, np.float32), {"it is never written": nothing()})
    assert re.search(words, " ".join(str(error.value).split())), str(error.value)


def test_an_output_that_is_added_to_explains_nan(answer):
    run = answer("if i < x.size:\n    out[i] += x[i]").work[2, 8](X, out=nothing())
    words = r"\[0\] of out is read in line 17 (.|\n)*sum in a variable, and write to out once"
    with pytest.raises(verdicts.Wrong, match=words):
        testing.expect(run["out"], X, {"it is doubled": 2 * X})


def test_what_nobody_wrote_is_no_mistake_where_it_changes_nothing(answer):
    body = SUMS.replace("sums[0]", "x[i]")
    run = answer(body).work[2, 8](X, out=nothing())
    testing.expect(run["out"], X)
    with pytest.raises(verdicts.Wrong) as error:
        testing.expect(run["out"], X + 1)
    assert "sums" not in str(error.value)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (
            "if i < 4:\n    x[i] = cuda.shfl_down_sync(0xFFFFFFFF, x[i], 2)",
            r"threads 0 to 3 wait in line 17 for the warp \(shfl_down_sync\); threads 4 to 31 have "
            "ended(.|\n)*stands inside an if",
        ),
        (
            "if i < 4:\n    x[i] = cuda.shfl_down_sync(0xFFFFFFFF, x[i], 2)\ncuda.syncthreads()",
            "threads 0 to 3 wait in line 17 .*; threads 4 to 31 wait in line 18(.|\n)*all 32 have",
        ),
        (
            "if i < 4:\n    cuda.syncthreads()\nelse:\n    cuda.syncthreads()",
            "threads 0 to 3 wait in line 17 .*; threads 4 to 31 wait in line 19(.|\n)*do not meet",
        ),
    ],
)
def test_threads_that_wait_for_ever_are_told_with_their_line(answer, body, words):
    with pytest.raises(verdicts.Raised, match=words) as error:
        answer(body).work[1, 32](X, out=nothing())
    assert error.value.error == "Deadlock"
    assert "ex90_kernels" not in str(error.value)
    file, line, name, text = error.value.frames[0]
    assert (file, line, name) == ("ex90_kernels.py", 17, "work")
    assert text.endswith(("cuda.syncthreads()", "x[i], 2)"))


LOOP = """
    tile = cuda.shared.array((WIDTH,), np.float32)
    t = cuda.threadIdx.x
    for k in range(2):
        tile[t] = x[t + k]
        cuda.syncthreads()
        out[t] = tile[7 - t]
"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (LOOP, "missing between the end of one pass of the loop and the beginning of the next"),
        (
            LOOP.replace("        cuda.sync", "        if t < 4:\n            cuda.sync"),
            "not all threads come to the barrier in line 21 together: it stands inside an if",
        ),
        (LOOP.replace("        cuda.syncthreads()\n", ""), "missing between the two lines"),
        ("out[0] = x[1]", "or one thread alone should write it"),
    ],
)
def test_a_race_says_what_is_wrong_with_the_barriers(answer, body, words):
    with pytest.raises(verdicts.Race, match=words):
        answer(body).work[1, 8](X, out=nothing())


def test_an_array_of_the_block_is_not_indexed_with_the_place_in_the_grid(answer):
    body = GOOD.replace("tile[t] = x[i]", "tile[i] = x[i]")
    with pytest.raises(verdicts.Raised, match=r"tile belongs to the block(.|\n)*threadIdx"):
        answer(body).work[2, 8](X, out=nothing())


def test_which_of_two_arrays_is_wrong_is_told(answer):
    head = HEAD.replace("(x, out)", "(x, out, other)")
    body = "if i < x.size:\n    out[i] = x[i]\n    other[i] = 2 * x[i]"
    run = answer(body, head).work[2, 8](X, out=nothing(), other=nothing())
    testing.expect(run["out"], X)
    with pytest.raises(verdicts.Wrong, match="\nother is not right"):
        testing.expect(run["other"], X)


def test_a_right_answer_that_costs_too_much_is_not_called_wrong(answer):
    run = answer("if i < x.size:\n    out[i] = x[i] + x[i]").work[2, 8](X, out=nothing())
    with pytest.raises(verdicts.TooCostly, match=r"are right\. But: reads: 2, and 1 are"):
        testing.at_most(run.reads("x")["most"], 1, "reads")


def test_an_input_that_is_written_into_is_named(answer):
    with pytest.raises(verdicts.Changed, match="writes into x"):
        answer("if i < x.size:\n    x[i] = 0").work[2, 8](X, out=nothing())


def test_a_kernel_with_other_parameters_is_refused(answer):
    with pytest.raises(verdicts.Missing, match="takes 2 arguments, and should 3"):
        answer(GOOD).work[2, 8](X, X, out=nothing())


def test_nothing_else_in_the_file_can_deceive_the_watcher(answer):
    head = (
        """
import kernels.watch
kernels.watch.watch = None
"""
        + HEAD
        + GOOD
    )
    body = GOOD.replace("    cuda.syncthreads()\n", "")
    cheat = (
        head.replace("def work", "def honest")
        + "\n@cuda.jit\ndef work(x, out):\n    i = cuda.grid(1)\n"
    )
    with pytest.raises(verdicts.Wrong, match="a barrier is missing"):
        answer(body, cheat).work[2, 8](X, out=nothing())


def test_a_kernel_that_never_ends_is_timed_out(tmp_path):
    written(tmp_path, "while True:\n    i += 1")
    limits = Limits(seconds=1, wall=5)
    with (
        Sandbox(tmp_path, "ex90_kernels", may_import=("numpy", "kernels"), limits=limits) as box,
        pytest.raises(verdicts.TimedOut),
    ):
        box.launch("work", 1, 1, [X, nothing()])
