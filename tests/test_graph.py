"""The graph behind a Tensor as data: nothing lost, nothing invented, drawn as it ran."""

import numpy as np
import pytest

import minigrad as mg
from minigrad import viz
from minigrad.graph import graph_of


def leaf(value):
    return mg.tensor(value, requires_grad=True)


def by_label(nodes):
    return {node.label: node for node in nodes}


def linear_model():
    x, w, b, t = leaf(3.0), leaf(-2.0), leaf(0.5), leaf(1.25)
    y = x * w + b
    loss = (y - t) ** 2
    return {"x": x, "w": w, "b": b, "t": t, "y": y, "loss": loss}


def test_values_and_gradients_of_every_node():
    names = linear_model()
    nodes, edges = graph_of(names["loss"], names, inputs=["x", "t"])
    found = {node.label: (node.kind, node.value, node.gradient) for node in nodes}
    assert found == {
        "x": ("input", "3", "27"),
        "w": ("parameter", "-2", "-40.5"),
        "b": ("parameter", "0.5", "-13.5"),
        "t": ("input", "1.25", "13.5"),
        "×": ("op", "-6", "-13.5"),
        "y = +": ("op", "-5.5", "-13.5"),
        "−": ("op", "-6.75", "-13.5"),
        "loss = ( )²": ("output", "45.56", "1"),
    }
    ids = {node.label: node.id for node in nodes}
    assert (ids["x"], ids["×"]) in edges and (ids["×"], ids["y = +"]) in edges
    assert len(edges) == 7


def test_gradients_are_those_of_backward():
    names = linear_model()
    before = by_label(graph_of(names["loss"], names)[0])
    names["loss"].backward()
    after = by_label(graph_of(names["loss"], names)[0])
    for name in "xwbt":
        assert before[name].gradient == f"{names[name].grad.item():.4g}"
        assert after[name].gradient == before[name].gradient
    assert after["×"].gradient is None
    assert after["y = +"].value == before["y = +"].value


def test_looking_at_a_graph_changes_nothing():
    names = linear_model()
    first = graph_of(names["loss"], names)
    assert graph_of(names["loss"], names) == first
    assert names["w"].grad is None
    names["loss"].backward()
    assert names["w"].grad.item() == -40.5


def test_a_value_used_twice_has_two_edges_and_one_node():
    x = leaf(3.0)
    nodes, edges = graph_of(x * x, {"x": x})
    assert [node.label for node in nodes] == ["x", "×"]
    assert edges == [(0, 1), (0, 1)]
    assert nodes[0].gradient == "6"


def test_arrays_are_shown_by_shape_and_constants_by_name():
    weight, data = leaf(np.arange(12.0).reshape(4, 3)), mg.tensor(np.ones((2, 4)))
    hidden = mg.tanh(data @ weight)
    nodes, _ = graph_of(hidden.sum(), {"W": weight, "X": data, "h": hidden})
    found = by_label(nodes)
    assert (found["W"].kind, found["W"].value, found["W"].gradient) == (
        "parameter",
        *["(4, 3)"] * 2,
    )
    assert (found["X"].kind, found["X"].value, found["X"].gradient) == ("input", "(2, 4)", None)
    assert found["h = tanh"].value == "(2, 3)"


def test_inside_a_transform():
    seen = []

    def f(x):
        y = mg.sin(x) * x
        seen.append(graph_of(y, {"x": x}))
        return y

    slope = mg.grad(f)(np.float64(2.0))
    nodes, _ = seen[0]
    assert [node.kind for node in nodes] == ["input", "op", "output"]
    assert nodes[0].gradient == f"{slope:.4g}"


def test_a_whole_transformer_can_be_drawn():
    model = mg.models.GPT(mg.models.GPTConfig(11, 8, 16, 2, 1))
    ids = np.arange(16).reshape(2, 8) % 11
    loss = mg.cross_entropy(model(ids), ids)
    nodes, edges = graph_of(loss, dict(model.named_parameters()))
    labels = {node.label for node in nodes if node.kind == "parameter"}
    assert labels == {name for name, _ in model.named_parameters()}
    picture = viz.computation_graph(nodes, edges, direction="down")
    assert len(picture.axes) == 1


def test_deep_graphs_need_no_recursion():
    x = leaf(1.0)
    y = x
    for _ in range(5000):
        y = y + x
    nodes, edges = graph_of(y)
    assert len(nodes) == 5001 and len(edges) == 10000
    assert nodes[0].gradient == "5001"


def test_bad_input_is_named():
    with pytest.raises(TypeError, match="graph_of: expected a Tensor, got ndarray"):
        graph_of(np.ones(3))
    with pytest.raises(ValueError, match="came from no tensor with requires_grad"):
        graph_of(mg.tensor(3.0))
