"""Live bytes: what is reachable, each memory once."""

import functools

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.optim import AdamW
from minigrad.perf import live_arrays, live_bytes


class Holder:
    __slots__ = ("array", "other")


def test_arrays_are_found_in_containers_slots_attributes_and_closures():
    a, b, c, d, e = (np.zeros(n) for n in (1, 2, 3, 4, 5))
    holder = Holder()
    holder.array, holder.other = a, {"x": [(b,)]}

    def closes_over(x, y=d):
        return c + x + y

    assert live_bytes(holder) == 8 * (1 + 2)
    assert live_bytes(closes_over) == 8 * (3 + 4)
    assert live_bytes(functools.partial(closes_over, e)) == 8 * (3 + 4 + 5)
    assert live_bytes(holder, closes_over, holder) == 8 * (1 + 2 + 3 + 4)


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[1:, ::2],
        lambda a: a.T.reshape(3, 4)[None],
        lambda a: np.broadcast_to(a[0], (50, 3)),
        lambda a: np.lib.stride_tricks.sliding_window_view(a, 2, axis=0),
    ],
    ids=["slice", "transposed", "broadcast", "windows"],
)
def test_a_view_counts_as_the_whole_memory_that_it_shows(view):
    a = np.arange(12.0).reshape(4, 3)
    assert live_bytes(view(a)) in (96, view(a).nbytes)
    if np.shares_memory(view(a), a):
        assert live_bytes(a, view(a)) == 96
        assert live_arrays(view(a))[0] is a or live_arrays(view(a))[0] is a.base


def test_globals_classes_and_weak_references_are_not_followed():
    assert live_bytes(test_arrays_are_found_in_containers_slots_attributes_and_closures) == 0
    assert live_bytes(np, Holder, mg.Tensor) == 0
    leaf = mg.tensor(np.zeros(7), requires_grad=True)
    assert live_bytes(leaf.node) == 0


def test_what_is_left_out_is_not_entered():
    big, small = {"array": np.zeros(100)}, np.zeros(3)
    assert live_bytes([big, small], without=[big]) == 24
    assert live_bytes([big, small], without=[small]) == 800


def test_training_holds_what_the_formula_says():
    model = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    n = 4 * model.num_parameters
    optimizer = AdamW(model.parameters())
    assert live_bytes(model) == n
    loss = model(np.ones((7, 3), np.float32)).sum()
    held = live_bytes(loss)
    assert held > live_bytes(loss, without=[p.data for p in model.parameters()]) > 0
    loss.backward()
    assert live_bytes(model) == 2 * n
    optimizer.step()
    assert live_bytes(optimizer) == 4 * n
    optimizer.zero_grad()
    assert live_bytes(optimizer) == 3 * n
    assert live_bytes(loss) == 0
