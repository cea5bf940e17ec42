"""Pictures of ranks on a clock: what is drawn follows from the spans."""

import pytest

from minigrad import viz

SPANS = [
    (2, 0.0, 0.25, "F0", "forward"),
    (2, 0.5, 1.0, "B0", "backward"),
    (0, 0.25, 0.5, "F0", "forward"),
    (2, 0.125, 0.375, "", "message"),
    (2, 0.25, 0.5, "", "message"),
    (2, 0.375, 0.5, "", "message"),
]


def boxes(ax, role):
    """[(left, width, top)] of the boxes of a role's colour, in order."""
    found = []
    for patch in ax.patches:
        shade = tuple(round(255 * part) for part in patch.get_facecolor()[:3])
        if "#{:02X}{:02X}{:02X}".format(*shade) == viz.color(role):
            found.append((patch.get_x(), patch.get_width(), round(patch.get_y(), 3)))
    return found


def test_spans_are_boxes_in_their_ranks_rows():
    (ax,) = viz.rank_timeline(SPANS, names="stage {}", unit="s").axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["stage 0", "stage 2"]
    (first, second), ((left, width, top),) = boxes(ax, "forward"), boxes(ax, "backward")
    assert first[:2] == (0.25, 0.25) and second[:2] == (0.0, 0.25)
    assert (left, width) == (0.5, 0.5)
    assert top == second[2] > first[2]  # rank 0 above rank 2
    assert [text.get_text() for text in ax.texts] == ["F0", "F0", "B0"]


def test_messages_are_thin_and_share_a_lane_only_where_they_do_not_overlap():
    (ax,) = viz.rank_timeline(SPANS, unit="s").axes
    lanes = boxes(ax, "message")
    assert sorted(lane[:2] for lane in lanes) == [(0.125, 0.25), (0.25, 0.25), (0.375, 0.125)]
    tops = {lane[0]: lane[2] for lane in lanes}
    assert tops[0.125] == tops[0.375] < tops[0.25]
    (ax,) = viz.rank_timeline(SPANS, unit="s", thin=()).axes
    assert len({lane[2] for lane in boxes(ax, "message")}) == 1


def test_units_and_ends_can_be_chosen():
    options = dict(unit=("forward passes", 0.25), end=2.0, ranks=[0])
    (ax,) = viz.rank_timeline(SPANS, **options).axes
    assert ax.get_xlabel() == "time (forward passes)" and ax.get_xlim() == (0, 8)
    assert boxes(ax, "forward") == [(1.0, 1.0, 0.0)] and not boxes(ax, "backward")
    (ax,) = viz.rank_timeline([(0, 0.0, 3e-5, "x", "compute")], names=["GPU"]).axes
    assert ax.get_xlabel() == "time (µs)" and ax.get_yticklabels()[0].get_text() == "GPU"


@pytest.mark.parametrize(
    ("spans", "options", "words"),
    [
        ([], {}, "no spans"),
        ([(0, 2.0, 1.0, "x", "compute")], {}, "span 'x' of rank 0 runs from 2.0 to 1.0"),
        (SPANS, {"unit": "h"}, "unit is 'h'"),
        (SPANS, {"unit": ("t", 0)}, "more than 0 seconds"),
        (SPANS, {"ranks": [1]}, "no spans"),
    ],
)
def test_bad_input_is_named(spans, options, words):
    with pytest.raises(ValueError, match=words):
        viz.rank_timeline(spans, **options)
