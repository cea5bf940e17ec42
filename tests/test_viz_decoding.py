"""Pictures of decoding: what is drawn follows from the numbers, and fits."""

import numpy as np
import pytest

from minigrad import viz

TREE = [  # two beams, three steps; the tree as inference.Beams has it
    (None, "a dream", 0.0, "kept"),
    (0, " to", -0.5, "kept"),
    (0, " of", -1.0, "kept"),
    (0, " if", -3.0, "dropped"),
    (1, " be", -2.5, "kept"),
    (2, "\n", -2.25, "kept"),
    (1, " go", -4.0, "dropped"),
    (5, ".", -3.5, "finished"),
    (5, "!", -4.5, "finished"),
    (4, "?", -5.0, "dropped"),
]


def words(picture):
    return [text.get_text() for text in picture.findobj(lambda a: hasattr(a, "get_text"))]


def places(picture):
    """{text: its place from left and top}, of an axes in points."""
    texts = picture.axes[0].texts
    return {text.get_text(): (text.get_position()[0], -text.get_position()[1]) for text in texts}


def test_a_beam_tree_has_a_column_for_each_step_with_the_likeliest_on_top():
    at = places(viz.beam_tree(TREE, dropped=1, title="t"))
    assert at["a␣dream"] < at["␣to"] < at["␣be"] < at["."]
    assert (
        at["␣to"][0] == pytest.approx(at["␣of"][0]) and at["␣to"][1] < at["␣of"][1] < at["␣if"][1]
    )
    assert at["↵"][1] < at["␣be"][1] < at["␣go"][1]  # by log probability, not by parent
    assert "−2.25" in at and "0.00" not in at  # the prompt has no score


def test_a_beam_tree_draws_dropped_nodes_only_when_asked_for():
    assert not {"␣if", "␣go", "?", "dropped at once"} & set(places(viz.beam_tree(TREE)))
    assert {"␣if", "␣go", "?", "dropped at once"} <= set(places(viz.beam_tree(TREE, dropped=1)))


def test_a_beam_that_nothing_follows_is_drawn_as_dying():
    from minigrad.viz import decoding

    columns = [[0], [1, 2], [5, 4], [7, 8]]
    roles = decoding._roles(TREE, columns, best=7)
    assert [i for i in roles if roles[i] == "winner"] == [0, 2, 5, 7]
    assert [i for i in roles if roles[i] == "dies"] == [1, 4]
    assert roles[8] == "finished"
    assert {"finished", "dies later"} <= set(places(viz.beam_tree(TREE)))
    assert "goes on" not in places(viz.beam_tree(TREE))  # but the winner
    assert "dies later" not in places(viz.beam_tree([*TREE[:2], (1, " be", -2.5, "finished")]))


def test_the_winner_is_the_likeliest_finished_text_unless_told_otherwise():
    from minigrad.viz import decoding

    depth = [0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert decoding._likeliest_end(TREE, depth) == 7
    assert decoding._likeliest_end(TREE[:7], depth[:7]) == 5  # nothing is finished yet


def test_a_beam_tree_fits_into_axes():
    _, axes = viz.figure(1, 2)
    assert viz.beam_tree(TREE, ax=axes[0]) is axes[0]


P = np.array([0.05, 0.5, 0.2, 0.15, 0.1])
KEEP = np.array([False, True, True, True, False])


def bars_of(ax):
    return [(round(bar.get_x(), 6), round(bar.get_width(), 6)) for bar in ax.patches]


def test_token_bars_show_the_likeliest_and_all_others_together():
    picture = viz.token_bars({"row": {"p": P}}, lambda i: "abcde"[i], top=2, title="t")
    (ax,) = picture.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["b", "c", "3 others"]
    assert bars_of(ax) == [(0, 0.5), (0, 0.2), (0, 0.3), (0.3, 0)]  # others: kept, then cut


def test_token_bars_say_what_a_filter_keeps():
    panels = {"row": {"all": (P, P > 0), "some": (P, KEEP), "one": (P, P > 0.4)}}
    picture = viz.token_bars(panels, lambda i: "abcde"[i], top=2)
    said = words(picture)
    assert "keeps 5 tokens, 100 % of the mass" in said
    assert "keeps 3 tokens, 85.0 % of the mass" in said
    assert "keeps 1 token, 50.0 % of the mass" in said
    assert bars_of(picture.axes[1])[2:] == [(0, 0.15), (0.15, 0.15)]


def test_token_bars_keep_the_order_of_the_first_panel_and_write_small_numbers():
    tiny = np.array([0.0, 1 - 3e-5 - 0.004, 3e-5, 0.004])
    picture = viz.token_bars({"": {"a": tiny, "b": tiny[::-1]}}, str, top=4)
    first, second = picture.axes
    assert [label.get_text() for label in first.get_yticklabels()] == [
        "1",
        "3",
        "2",
        "0",
        "0 others",
    ]
    said = [text.get_text() for text in first.texts]
    assert said == ["0.996", "0.004", "<0.001", "0", "0"]
    assert bars_of(second)[0] == (0, round(3e-5, 6))


def test_what_is_nearly_all_is_not_called_all():
    p = np.array([0.9999, 0.0001])
    said = words(viz.token_bars({"": {"a": (p, p > 0.5)}}, str, top=1))
    assert "keeps 1 token, 99.9 % of the mass" in said


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: viz.beam_tree([]), "must be the prompt"),
        (lambda: viz.beam_tree(TREE[1:]), "must be the prompt"),
        (lambda: viz.beam_tree([TREE[0], (1, "a", -1.0, "kept")]), "node 1: its parent is 1"),
        (lambda: viz.beam_tree([TREE[0], (0, "a", -1.0, "lost")]), "its fate is 'lost'"),
        (lambda: viz.beam_tree(TREE, best=10), "best is 10: there are nodes 0 to 9"),
        (lambda: viz.token_bars({}, str), "panels must be rows"),
        (lambda: viz.token_bars({"a": {"p": P}, "b": {}}, str), "the same number of columns"),
        (lambda: viz.token_bars({"a": {"p": 2 * P}}, str), "'a', 'p': no distribution"),
        (lambda: viz.token_bars({"a": {"p": (P, KEEP[1:])}}, str), "keep is (4,), expected (5,)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
