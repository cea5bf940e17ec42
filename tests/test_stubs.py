"""Stubs from solutions: markers, what is kept, and what is refused with its line."""

import ast
import textwrap

import pytest

from minigrad.course import cli, stubs


def source(text):
    return textwrap.dedent(text).lstrip("\n")


def test_what_is_between_the_markers_is_cut_and_all_else_stays():
    made = stubs.stub(
        source('''
        """A solution."""

        import numpy as np


        def double(x):
            """2x.

            Args:
                x: (B, D).
            """
            # x (B, D) -> (B, D)
            ### BEGIN SOLUTION
            y = x + x  # the trick

            return y
            ### END SOLUTION


        class Pair:
            def total(self, other):
                """Both."""
                extra = 1
                ### BEGIN SOLUTION
                return self.a + other
                ### END SOLUTION
        '''),
        "ex99_topic",
    )
    assert made == source('''
        """A solution."""

        import numpy as np


        def double(x):
            """2x.

            Args:
                x: (B, D).
            """
            # x (B, D) -> (B, D)
            raise NotImplementedError("ex99_topic: double")


        class Pair:
            def total(self, other):
                """Both."""
                extra = 1
                raise NotImplementedError("ex99_topic: Pair.total")
        ''')
    ast.parse(made)


def test_a_nested_function_is_named_with_the_one_around_it():
    text = """
        def outer():
            def inner():
                ### BEGIN SOLUTION
                return 1
                ### END SOLUTION
            ### BEGIN SOLUTION
            return inner
            ### END SOLUTION
        """
    made = stubs.stub(source(text), "ex99_topic")
    assert '"ex99_topic: outer.inner"' in made and '"ex99_topic: outer"' in made


def test_the_words_in_a_string_are_no_marker():
    text = source('''
        def f():
            """Between ### BEGIN SOLUTION and
            ### END SOLUTION
            is the solution."""
            ### BEGIN SOLUTION
            return "### END SOLUTION"
            ### END SOLUTION
        ''')
    assert stubs.stub(text, "ex99_topic").count("SOLUTION") == 2


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    ### BEGIN SOLUTION\n    return 1\n", "line 2: ### BEGIN SOLUTION without"),
        ("    return 1\n    ### END SOLUTION\n", "line 3: ### END SOLUTION without"),
        (
            "    ### BEGIN SOLUTION\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION\n",
            "line 3: .* inside the region that begins at line 2",
        ),
        ("    return 1  ### BEGIN SOLUTION\n    ### END SOLUTION\n", "line 2: .* alone"),
        ("    # BEGIN SOLUTION\n    return 1\n", "line 2: '# BEGIN SOLUTION' is no marker"),
        ("    ### begin solution\n    return 1\n", "line 2: .* is no marker"),
        ("    ### BEGIN SOLUTION:\n    return 1\n", "line 2: .* is no marker"),
        (
            "    return 1\n\n\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION\n",
            "line 5: .* outside of any function",
        ),
    ],
)
def test_markers_out_of_place_are_errors_with_a_line(body, words):
    with pytest.raises(stubs.MarkerError, match=rf"ex99_topic\.py, {words}"):
        stubs.stub(f"def f():\n{body}", "ex99_topic")


def test_a_comment_about_the_solution_is_a_comment():
    text = "def f():\n    # The solution of the equation.\n    return 1\n"
    assert stubs.stub(text, "ex99_topic") == text


TOML = """
[ex99_topic]
title = "A topic"
notebook = "99_topic.ipynb"
seconds = 2
may_import = ["numpy"]
may_not_call = []

[ex99_topic.functions.one]
task = "return 1"
points = { test_one = 10 }
hints = ["a", "b", "c"]
"""


@pytest.fixture
def course(tmp_path):
    (tmp_path / "exercises").mkdir()
    (tmp_path / "solutions").mkdir()
    (tmp_path / "exercises/course.toml").write_text(TOML)
    text = "def one():\n    ### BEGIN SOLUTION\n    return 1\n    ### END SOLUTION\n"
    (tmp_path / "solutions/ex99_topic.py").write_text(text)
    return tmp_path


def test_the_command_writes_what_differs_and_checks(course, capsys):
    options = ["stubs", "--course", str(course)]
    assert cli.main([*options, "--check"]) == 1
    assert not (course / "exercises/ex99_topic.py").exists()
    assert cli.main(options) == 0
    stub = (course / "exercises/ex99_topic.py").read_text()
    assert stub == 'def one():\n    raise NotImplementedError("ex99_topic: one")\n'
    assert cli.main([*options, "--check"]) == 0
    assert "1 stubs, 0 differ" in capsys.readouterr().out


def test_the_command_names_what_is_wrong(course, capsys):
    (course / "solutions/ex99_topic.py").write_text("def one():\n    ### END SOLUTION\n    pass\n")
    assert cli.main(["stubs", "--course", str(course)]) == 2
    assert "ex99_topic.py, line 2: ### END SOLUTION without" in capsys.readouterr().err
    assert cli.main(["stubs", "--course", str(course / "solutions")]) == 2
    assert cli.main(["stubs", "--course", "/"]) == 2
    assert "no exercises here" in capsys.readouterr().err
