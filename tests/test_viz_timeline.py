"""Pictures of answers on a clock: what is drawn follows from the times."""

import math

import numpy as np
import pytest

from minigrad import viz

ANNA = (0.0, 0.0, [0.25, 0.5, 0.625, 1.5])
BEN = (0.5, 0.75, np.array([1.25, 1.75]))


def blocks(ax):
    """{colour: [(left, width), ...]} of the blocks."""
    found = {}
    for patch in ax.patches:
        shade = tuple(round(255 * part) for part in patch.get_facecolor()[:3])
        found.setdefault("#{:02X}{:02X}{:02X}".format(*shade), []).append(
            (patch.get_x(), patch.get_width())
        )
    return found


def ticks(ax):
    return [[float(line[0, 0]) for line in marks.get_segments()] for marks in ax.collections]


def written(ax):
    return [text.get_text() for text in ax.texts]


def test_a_prompt_is_a_block_and_each_token_a_tick():
    (ax,) = viz.token_timeline({"Anna": ANNA, "Ben": BEN}, title="t").axes
    assert blocks(ax)[viz.color("prefill")] == [(0.0, 0.25), (0.75, 0.5)]
    assert ticks(ax) == [[0.25, 0.5, 0.625, 1.5], [1.25, 1.75]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["Anna", "Ben"]
    assert ax.get_xlabel() == "time (s)"


def test_only_who_waits_has_a_block_for_it():
    def key(requests):
        (ax,) = viz.token_timeline(requests).axes
        return blocks(ax).get(viz.color("faint")), [t.get_text() for t in ax.get_legend().texts]

    assert key({"Anna": ANNA, "Ben": BEN}) == ([(0.5, 0.25)], ["waits", "prefill", "a token"])
    assert key({"Anna": ANNA}) == (None, ["prefill", "a token"])


def test_what_is_measured_ends_where_the_tokens_say():
    (ax,) = viz.token_timeline({"Ben": BEN, "Anna": ANNA}, measured="Anna").axes
    assert written(ax) == ["TTFT", "TPOT × 3", "latency"]
    spans = [tuple(map(float, line.get_xdata())) for line in ax.lines]
    assert spans == [(0.0, 0.25), (0.25, 1.5), (0.0, 1.5)]
    places = ax.get_yticks()
    assert places[0] < places[1]
    (alone,) = viz.token_timeline({"x": (1.0, 1.0, [1.5])}, measured="x").axes
    assert written(alone) == ["TTFT", "latency"]


def test_names_of_a_short_ttft_and_of_tpot_do_not_overlap():
    picture = viz.token_timeline({"x": (0.0, 0.0, [0.001, 0.5, 1.0])}, measured="x")
    picture.draw_without_rendering()
    first, second = (text.get_window_extent() for text in picture.axes[0].texts[:2])
    assert first.x1 < second.x0


def test_short_times_are_in_milliseconds_unless_told_otherwise():
    short = {"x": (2.0, 2.0, [2.25, 2.5])}
    (ax,) = viz.token_timeline(short).axes
    assert ax.get_xlabel() == "time (ms)" and ticks(ax) == [[2250.0, 2500.0]]
    (ax,) = viz.token_timeline(short, unit="s").axes
    assert ax.get_xlabel() == "time (s)" and ticks(ax) == [[2.25, 2.5]]


def test_a_timeline_fits_into_axes():
    _, axes = viz.figure(2, 1)
    assert viz.token_timeline({"Anna": ANNA}, ax=axes[0]) is axes[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: viz.token_timeline({}), "no requests"),
        (lambda: viz.token_timeline({"a": ANNA}, measured="b"), "there is no request 'b'"),
        (lambda: viz.token_timeline({"a": ANNA}, unit="h"), "unit is 'h'"),
        (lambda: viz.token_timeline({"a": (0.0, 0.0, [])}), "'a': a request without a token"),
        (lambda: viz.token_timeline({"a": (1.0, 0.5, [2.0])}), "'a': asked, started and arrivals"),
        (lambda: viz.token_timeline({"a": (0.0, 0.5, [0.25])}), "'a': asked, started and arrivals"),
        (lambda: viz.token_timeline({"a": (0.0, 0.0, [math.nan])}), "'a': asked, started"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError) as error:
        call()
    assert message in str(error.value)
