"""Kernels that learners write: what the language allows, and what is found when one runs."""

import textwrap

import numpy as np
import pytest

from minigrad.course import answers
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
        ("y = x @ x", "no such operator"),
        ("y = i in x", "no such operator"),
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
    assert run.reads("x") == {"count": 10, "bytes": 40, "requests": 2, "transfers": 2}
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
