"""Pictures of things that move between ranks, and of attention in tiles."""

import numpy as np
import pytest

from minigrad import viz
from minigrad.viz.style import FAINT


def fills(ax):
    """How many patches have which colour."""
    found = {}
    for patch in ax.patches:
        shade = "#{:02X}{:02X}{:02X}".format(
            *(round(255 * part) for part in patch.get_facecolor()[:3])
        )
        found[shade] = found.get(shade, 0) + bool(patch.get_facecolor()[3])
    return found


def written(ax):
    return [text.get_text() for text in ax.texts]


def test_each_thing_is_a_box_in_its_colour_and_has_a_line_to_where_it_goes():
    stages = {
        "home": [[("a", "data", 0), ("b", "data", 1)], [("c", "loss", 2)]],
        "sent": [[("c", "loss", 2)], [("a", "data", 0), ("b", "data", 1)]],
    }
    (ax,) = viz.rank_items(stages, key={"data": "of rank 0"}, title="t").axes
    assert fills(ax)[viz.color("data")] == 4 + 1  # and the key
    lines = [patch for patch in ax.patches if not patch.get_fill() or not patch.get_facecolor()[3]]
    assert len([line for line in lines if len(line.get_path().vertices) == 4]) == 3
    assert written(ax).count("a") == 2
    for word in ("home", "sent", "rank 0", "rank 1", "of rank 0"):
        assert word in written(ax)


def test_ranks_that_come_and_go_are_refused():
    with pytest.raises(ValueError, match=r"moments have \[1, 2\] ranks"):
        viz.rank_items({"a": [[]], "b": [[], []]})
    with pytest.raises(ValueError, match="expected as many in each"):
        viz.rank_items({})


def test_tiles_lie_where_their_queries_and_keys_are_and_a_cut_one_is_a_triangle():
    tiles = [(1, 0, 1, "7"), (1, 1, 1, 0, True)]
    picture = viz.attention_tiles({"here": (2, tiles)}, notes={"here": "note"}, title="t")
    (ax,) = picture.axes
    square, triangle = ax.patches[1:]
    assert (square.get_x(), square.get_y(), square.get_width()) == (0, 1, 1)
    assert np.array_equal(triangle.get_xy()[:3], [(1, 1), (1, 2), (2, 2)])
    assert written(ax) == ["7", "0"]
    assert fills(ax)[FAINT] == 1
    assert ax.get_xlabel() == "keys\nnote"
    assert ax.get_ylim() == (2, 0)  # the first query on top


def test_tiles_outside_are_refused():
    with pytest.raises(ValueError, match=r"tile \(2, 0\) of 2 × 2"):
        viz.attention_tiles({"here": (2, [(2, 0, 0, "")])})
    with pytest.raises(ValueError, match="no panels"):
        viz.attention_tiles({})
