"""What a graph keeps for backward, counted array by array."""

import numpy as np
import pytest

import minigrad as mg
from minigrad.perf import paper_bytes, saved_activations


def leaf(*shape, seed=0):
    return mg.Tensor(np.random.default_rng(seed).normal(size=shape), requires_grad=True)


def test_a_product_keeps_both_factors_and_a_sum_nothing():
    x, w = leaf(3, 4), leaf(4, 5, seed=1)
    kept = saved_activations((x @ w + 1.0).sum())
    assert [(k.op, k.argument) for k in kept] == [("matmul", "x"), ("matmul", "y")]
    assert kept[0].array is x.data and kept[1].array is w.data
    assert [k.array is x.data for k in saved_activations(x @ w, without=[w])] == [True]
    assert saved_activations(x @ w, without=[w, x.data]) == []


def test_arrays_stand_in_the_order_of_computation_each_memory_once():
    x = leaf(6, 2)
    y = mg.exp(x)
    z = mg.tanh(y) * y.reshape(2, 6).reshape(6, 2)  # a view of what exp keeps already
    kept = saved_activations(z)
    assert [k.op for k in kept] == ["exp", "tanh"]
    assert kept[0].array is y.data and sum(k.array.nbytes for k in kept) == 2 * 12 * 8


def test_what_is_not_recorded_or_recomputed_keeps_nothing():
    x = leaf(3, 3)
    with mg.no_grad():
        assert saved_activations(mg.exp(x)) == []
    inside = mg.checkpoint(lambda t: mg.exp(mg.tanh(t)))(x)
    assert saved_activations(inside) == []
    with pytest.raises(TypeError, match="expected a Tensor, got a ndarray"):
        saved_activations(np.ones(3))


def test_papers_count_two_bytes_a_number_and_one_a_mask():
    assert paper_bytes(np.ones((3, 5), np.float64)) == 30
    assert paper_bytes(np.ones((3, 5), bool)) == 15
