"""What exercise tests are written with: right answers pass, wrong ones are told apart in words."""

import numpy as np
import pytest

from minigrad.course import answers, testing
from minigrad.sandbox.verdicts import Wrong

A = np.arange(6.0).reshape(2, 3) / 7


@pytest.fixture(autouse=True)
def no_calls_from_other_tests():
    answers.calls.clear()


def message(got, want, *arguments, **options):
    with pytest.raises(Wrong) as caught:
        testing.expect(got, want, *arguments, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (A + 1e-13, A),
        (A.astype("f4") * np.float32(1 + 1e-6), A.astype("f4")),
        (2, 2.0),
        (np.float32(2.0), 2.0),
        (np.array(2.0), 2.0),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (np.array([1.0, np.nan, np.inf]), np.array([1.0, np.nan, np.inf])),
        ({"b": 2, "a": (1, [A])}, {"a": (1, [A]), "b": 2}),
        (np.zeros((0, 3)), np.zeros((0, 3))),
        ("text", "text"),
        (None, None),
        (np.array([1, 2]), np.array([1, 2])),
    ],
)
def test_right_answers_pass(got, want):
    testing.expect(got, want)


@pytest.mark.parametrize(
    ("got", "want", "words"),
    [
        (A * (1 + 1e-8), A, r"the first difference is at \[0, 1\]: expected 0.14285714285"),
        (A.T, A, r"expected the shape \(2, 3\), got \(3, 2\)"),
        (A[None], A, r"expected the shape \(2, 3\), got \(1, 2, 3\)"),
        (A[:1, :1], A, "expected the shape"),
        (0.0, np.zeros(2), "expected an array of shape"),
        (A.astype("f4"), A, "expected the dtype float64, got float32"),
        (np.arange(3), np.arange(3.0), "expected the dtype float64, got int64"),
        (np.full((2, 3), np.nan), A, "got nan"),
        (np.nan, 1.5, "got: +nan"),
        ([1, 2], (1, 2), "expected a tuple of 2, got a list of 2"),
        ((1, 2, 3), (1, 2), "expected a tuple of 2, got a tuple of 3"),
        (True, 1, "expected 1, of type int, got True, of type bool"),
        (1, True, "expected True, of type bool, got 1, of type int"),
        (1.0, 1, "of type int, got 1.0, of type float"),
        (None, 1.5, "got None"),
        ("2", 2, "got '2', of type str"),
        (np.array([2.0]), 2.0, "expected 2.0, of type float, got an array"),
        ((A, A + 1), (A, A), r"(?s)Element \[1\] of what .*the first difference is at \[0, 0\]"),
        ({"a": 1}, {"b": 1}, r"expected the keys \['b'\], got \['a'\]"),
        ([[1, 2], [3, 5]], [[1, 2], [3, 4]], r"Element \[1\]\[1\] of .*\nexpected: 4\ngot:      5"),
        (2 + 1j, 2.0, "of type float, got"),
        (np.array([True, False]), np.array([True, True]), "at \\[1\\]: expected True, got False"),
    ],
)
def test_wrong_answers_are_told_apart(got, want, words):
    with pytest.raises(Wrong, match=words):
        testing.expect(got, want)


def test_small_arrays_are_shown_whole_and_large_ones_by_shape():
    assert "0.14286, 0.28571" in message(A + 1, A)
    large = np.zeros((40, 50))
    text = message(large + np.eye(40, 50), large)
    assert "array of shape (40, 50), float64" in text and len(text) < 300
    assert "(40 of 2,000 differ)" in text


def test_a_float_in_the_place_of_an_integer_is_told_from_a_wrong_number():
    assert "the value is right, and has to be an integer" in message(np.float64(136), 136)
    assert "value is right" not in message(135.0, 136) + message(True, 1)


def test_where_the_wrong_part_of_a_large_array_lies_is_told():
    large = np.zeros((40, 50))
    wrong = large.copy()
    wrong[32:, 3:5] = 1
    assert "(16 of 2,000 differ, all in [32:40, 3:5])" in message(wrong, large)


def test_rows_that_are_too_wide_to_be_aligned_are_written_short():
    wide = np.zeros((2, 8), np.float32)
    wide[1, 2] = np.log(np.float32(2))
    text = message(wide, wide + 1)
    assert "[0, 0, 0.69315, 0, 0, 0, 0, 0]" in text
    assert max(map(len, text.split("\n"))) <= 76
    assert "got:      0.3535 (float32)" in message(np.float32(0.3535), 1.0)


def test_the_message_names_a_known_mistake_and_no_other():
    mistakes = {"it is doubled": lambda: 2 * A, "it is transposed": A.T}
    assert message(2 * A, A, mistakes).endswith("Likely mistake: it is doubled.")
    assert message(A.T, A, mistakes).endswith("Likely mistake: it is transposed.")
    assert "Likely" not in message(3 * A, A, mistakes)


def test_mistakes_are_looked_at_only_when_the_answer_is_wrong():
    testing.expect(A, A, {"never": lambda: 1 / 0})


def test_the_tolerance_is_relative_to_the_largest_number():
    testing.expect(np.array([1e8, 1e-3]), np.array([1e8, 0.0]))
    assert "first difference" in message(np.array([1.0, 1e-3]), np.array([1.0, 0.0]))
    testing.expect(np.array([1.0, 1e-3]), np.array([1.0, 0.0]), tolerance=1e-2)
    assert "got 1e-09" in message(np.array([0.0, 1e-9]), np.zeros(2))


def test_another_float_dtype_passes_where_the_test_allows_it():
    testing.expect(A.astype("f4"), A, dtype="float")
    assert "expected the dtype" in message(np.arange(6).reshape(2, 3), A, dtype="float")


def test_the_message_begins_with_the_call():
    answer = answers.Answer(lambda function, *arguments, **keywords: 0.0)
    got = answer.f(np.array([1.0, 2.0]), testing.given("square", 3), [4], eps=np.float32(0.5))
    text = message(got, 1.0)
    assert text.startswith("f([1., 2.], square(3), [4], eps=0.5 (float32))")
    assert answer.f({"W": A, "b": np.zeros(30)}, mask=True) == 0.0
    assert message(got, 1.0).startswith("f(<dict of W, b>, mask=True)")
    assert answer.f(np.zeros((5, 9))) == 0.0
    assert message(got, 1.0).startswith("f(<array of shape (5, 9), float64>)")


def shown_call(*arguments, **keywords):
    """The call as a message shows it, for a function with the parameters q, k and n."""
    answers.Answer(lambda *_, **__: None, {"f": ["q", "k", "n"]}).f(*arguments, **keywords)
    return answers.calls[-1][0]


def test_arguments_have_names_where_several_hold_arrays(tmp_path):
    row, pair = np.array([1.0, 2.0]), [np.array([3.0])]
    assert shown_call(row, pair, 2) == "f(q=[1., 2.], k=[[3.]], n=2)"
    assert shown_call(row, k=pair) == "f(q=[1., 2.], k=[[3.]])"
    assert shown_call(row, [3.0], 2) == "f([1., 2.], [3.0], 2)"
    assert shown_call(row, row, 2, 4) == "f([1., 2.], [1., 2.], 2, 4)"
    path = tmp_path / "ex99_topic.py"
    path.write_text("def f(q, /, k=0, *rest, n=1): pass\n\nx = lambda a: a\n")
    assert answers.parameters(path) == {"f": ["q", "k"]}
    for text in ("def f(:", "\0", "("):
        path.write_text(text)
        assert answers.parameters(path) == {}
    assert answers.parameters(tmp_path / "none.py") == {}


def test_deep_arrays_have_no_empty_lines_and_short_ones_one_line():
    deep = np.array([[[[0.0]], [[10.5]]]])
    assert shown_call(deep) == "f([[[[0.]], [[10.5]]]])"
    assert "expected: [[[[1.]], [[11.5]]]] (array of shape (1, 2, 1, 1)" in message(deep, deep + 1)
    deep = np.arange(12, dtype="f4").reshape(2, 2, 3)
    lines = shown_call(deep, deep[0]).splitlines()
    assert lines == [
        "f(",
        "    q=float32([[[ 0.,  1.,  2.],",
        "                [ 3.,  4.,  5.]],",
        "               [[ 6.,  7.,  8.],",
        "                [ 9., 10., 11.]]]),",
        "    k=float32([[0., 1., 2.],",
        "               [3., 4., 5.]]),",
        ")",
    ]
    assert "\n\n" not in message(deep, deep + 1).partition("expected")[2]


def test_beside_large_arrays_only_short_ones_are_shown_whole():
    large, small, row = np.zeros((5, 9)), np.ones((2, 3)), np.array([3, 1])
    text = shown_call(large, small, row)
    assert text.split("\n") == [
        "f(",
        "    q=<array of shape (5, 9), float64>,",
        "    k=<array of shape (2, 3), float64>,",
        "    n=[3, 1],",
        ")",
    ]
    assert "q=[[1., 1., 1.],\n" in shown_call(small, small)


def test_the_message_shows_the_call_that_the_answer_came_from():
    answer = answers.Answer(lambda function, x: (x * 2.0, [x]))
    first, second = answer.f(1.0), answer.g(3.0)
    assert message(first, (2.0, [2.0])).startswith("f(1.0)")
    assert message(second[1], [2.0]).startswith("g(3.0)")
    assert message(first[0] + second[0], 7.0).startswith("g(3.0)")


def test_a_test_can_fail_in_its_own_words():
    answers.Answer(lambda function: None).order()
    with pytest.raises(Wrong, match=r"order\(\)\n\nb comes before a"):
        testing.fail("b comes before a")
