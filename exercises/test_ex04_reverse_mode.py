"""Tests of exercise 04: the engine of reverse mode.

The references are closed forms, forward mode (one node moves, and the test follows it through the
graph) and the complex step, f'(x) = Im f(x + ih) / h, which loses no digits.
"""

import math
from itertools import pairwise

import numpy as np

from minigrad.course.testing import expect, fail, given

TINY = 1e-30  # the complex step: its square vanishes beside 1
LOOSE = 1e-8  # the tolerance where terms of both signs may cancel
EVERY_PATH = "the walk passes every path, but each node must hand on its shares once"
OVERWRITTEN = "a later share overwrites an earlier one, but shares must add up"
BROADCAST_BACK = "a share is handed on in the shape that broadcasting made, not in the parent's"

OPERATIONS = ["add", "subtract", "multiply", "sin"]  # of random graphs

DIAMOND = {  # the graph of the notebook, L = a b (a + b)
    "L": ("multiply", ("product", "total")),
    "a": ("input", ()),
    "total": ("add", ("a", "b")),
    "b": ("input", ()),
    "product": ("multiply", ("a", "b")),
}

UNUSED = {  # L = a · a; nothing of what "b" goes into, nor what L goes into, is part of it
    "after": ("sin", ("L",)),
    "aside": ("subtract", ("b", "a")),
    "L": ("multiply", ("a", "a")),
    "a": ("input", ()),
    "b": ("input", ()),
}


def numbers(rng, *shape, low=0.5, high=2.0):
    """Random numbers of either sign, none near zero; a float if no shape is given."""
    drawn = rng.uniform(low, high, shape) * rng.choice([-1.0, 1.0], shape)
    return drawn if shape else float(drawn)


def shuffled(graph, rng):
    """The same graph, its nodes listed in another order."""
    nodes = list(graph)
    return {nodes[i]: graph[nodes[i]] for i in rng.permutation(len(nodes))}


def apply(operation, x, y=None):
    """What an operation of a random graph calculates, of real or complex numbers."""
    if operation == "sin":
        return np.sin(x)
    return {"add": x + y, "subtract": x - y, "multiply": x * y}[str(operation)]


def random_graph(rng, inputs=3, operations=30):
    """A graph, and the values of its nodes in the order in which they were made."""
    graph = {f"v{i}": ("input", ()) for i in range(inputs)}
    values = {node: numbers(rng) for node in graph}
    for i in range(inputs, inputs + operations):
        x, y = (str(node) for node in rng.choice(list(graph)[-6:], 2))
        for operation in [*rng.permutation(["add", "subtract", "multiply"]).tolist(), "sin"]:
            value = float(apply(operation, values[x], values[y]))
            if 0.1 < abs(value) < 3 and rng.uniform() < 0.7:  # neither lost digits nor huge numbers
                break
        graph[f"v{i}"] = (operation, (x,) if operation == "sin" else (x, y))
        values[f"v{i}"] = value
    return shuffled(graph, rng), values


def needed(graph, output):
    """The set of nodes that the output depends on, itself included."""
    found, waiting = {output}, [output]
    while waiting:
        for parent in graph[waiting.pop()][1]:
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return found


def slope_by_moving(graph, made, node, output):
    """Forward mode: move one node by a tiny imaginary step, and see how far the output moves."""
    moved = {}
    for each, value in made.items():
        operation, parents = graph[each]
        moved[each] = apply(operation, *(moved[parent] for parent in parents)) if parents else value
        if each == node:
            moved[each] = moved[each] + 1j * TINY
    return float(np.imag(moved[output]) / TINY)


def chain(length):
    """Node k is node k − 1 plus node 0; node 0 is an input."""
    return {0: ("input", ()), **{k: ("add", (k - 1, 0)) for k in range(1, length + 1)}}


def doublings(times):
    """Node k is node k − 1 plus itself; node 0 is an input."""
    return {0: ("input", ()), **{k: ("add", (k - 1, k - 1)) for k in range(1, times + 1)}}


def check_order(order, graph, output):
    """Fail, in words, unless `order` is a topological order of what the output depends on."""
    if not isinstance(order, list):
        fail(f"a list of nodes is asked for, this is {type(order).__name__}")
    strange = [node for node in order if not isinstance(node, (str, int)) or node not in graph]
    if strange:
        fail(f"{strange[0]!r} is in the list, but it is not a node of the graph")
    place = {node: i for i, node in enumerate(order)}
    if len(place) < len(order):
        twice = next(node for i, node in enumerate(order) if place[node] != i)
        fail(f"a node is listed more than once: {twice!r}")
    wanted = needed(graph, output)
    for node in order:
        if node not in wanted:
            fail(f"a node is listed that the output does not depend on: {node!r}")
    for node in graph:
        if node in wanted and node not in place:
            fail(f"a node is missing that the output depends on: {node!r}")
    edges = [(parent, node) for node in order for parent in graph[node][1]]
    if edges and all(place[parent] > place[node] for parent, node in edges):
        fail("the list is the wrong way round: every node must come after its parents")
    for parent, node in edges:
        if place[parent] > place[node]:
            fail(f"a node is listed before one of its parents: {node!r} before {parent!r}")


def test_the_shares_of_sums_and_differences(answer):
    expect(answer.shares("add", 5.0, 2.0, 3.0), (5.0, 5.0))
    expect(
        answer.shares("subtract", 5.0, 2.0, 3.0),
        (5.0, -5.0),
        mistakes={
            "y is subtracted, so its share is −g": (5.0, 5.0),
            "the two shares are swapped": (-5.0, 5.0),
        },
    )


def test_the_shares_of_products_and_quotients(answer, rng):
    expect(
        answer.shares("multiply", 5.0, 2.0, 3.0),
        (15.0, 10.0),
        mistakes={
            "each parent gets g times its own value, not times the other one": (10.0, 15.0),
            "the shares are not multiplied by g": (3.0, 2.0),
        },
    )
    expect(
        answer.shares("divide", 4.0, 6.0, 2.0),
        (2.0, -6.0),
        mistakes={
            "the share of the divisor has the wrong sign": (2.0, 6.0),
            "the share of the divisor is −g x / y², not −g x / y": (2.0, -12.0),
            "the share of the divisor is −g x / y², not −g / y²": (2.0, -1.0),
            "the shares are not multiplied by g": (0.5, -1.5),
        },
    )
    g, x, y = (numbers(rng) for _ in range(3))
    by_x, by_y = (g * x) / complex(y, TINY), (g * complex(x, TINY)) / y
    expect(answer.shares("divide", g, x, y), (by_y.imag / TINY, by_x.imag / TINY))


def test_one_parent_receives_one_share(answer, rng):
    expect(
        answer.shares("sin", 4.0, math.pi),
        (-4.0,),
        mistakes={
            "a share alone is no tuple of one share": -4.0,
            "the share of the sine is not multiplied by g": (-1.0,),
        },
    )
    expect(
        answer.shares("exp", 4.0, 1.0),
        (4.0 * math.e,),
        mistakes={"a share alone is no tuple of one share": 4.0 * math.e},
    )
    g, x = numbers(rng), numbers(rng)
    expect(answer.shares("sin", g, x), (g * math.cos(x),))
    expect(answer.shares("exp", g, x), (g * math.exp(x),))
    expect(
        answer.shares("input", g),
        (),
        mistakes={
            "an input has no parents: its shares are the empty tuple (), not None": None,
            "an input has no parents, so nobody receives g": (g,),
        },
    )


def test_every_element_of_a_sum_receives_g(answer, rng):
    x = numbers(rng, 2, 3)
    expect(
        answer.shares("sum", 5.0, x),
        (np.array([[5.0, 5.0, 5.0], [5.0, 5.0, 5.0]]),),
        mistakes={
            "the sum hands on g itself, not g to each element": (5.0,),
            "the share of a sum does not depend on the elements": lambda: (5.0 * x,),
            "g is divided among the elements, as for a mean": (np.full((2, 3), 5 / 6),),
        },
    )


def test_the_shares_of_arrays_have_the_shape_of_g(answer, rng):
    x, y, g = numbers(rng, 3), numbers(rng, 2, 1), numbers(rng, 2, 3)
    by_x, by_y = np.empty((2, 3)), np.empty((2, 3))
    for i, j in np.ndindex(2, 3):
        by_x[i, j], by_y[i, j] = g[i, j] * y[i, 0], g[i, j] * x[j]
    expect(answer.shares("multiply", g, x, y), (by_x, by_y))
    for i, j in np.ndindex(2, 3):
        by_x[i, j], by_y[i, j] = g[i, j] / y[i, 0], -g[i, j] * x[j] / y[i, 0] ** 2
    expect(answer.shares("divide", g, x, y), (by_x, by_y))
    expect(answer.shares("subtract", g, x, y), (g, -g))
    z = numbers(rng, 2, 3)
    by_z = np.array([[g[i, j] * math.cos(z[i, j]) for j in range(3)] for i in range(2)])
    expect(answer.shares("sin", g, z), (by_z,))


def test_the_shares_of_one_element_add_up(answer):
    g = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    expect(
        answer.unbroadcast(g, (3,)),
        np.array([5.0, 7.0, 9.0]),
        mistakes={
            "the places are averaged, but their shares add up": g.mean(axis=0),
            "one of the places is taken, but the shares of all add up": g[0],
        },
    )
    expect(
        answer.unbroadcast(g, (2, 1)),
        np.array([[6.0], [15.0]]),
        mistakes={
            "an axis of size 1 is lost; it must stay": np.array([6.0, 15.0]),
            "an axis of size 1 is not summed": g,
        },
    )
    expect(answer.unbroadcast(g, (1, 3)), np.array([[5.0, 7.0, 9.0]]))
    expect(answer.unbroadcast(g, (1, 1)), np.array([[21.0]]))
    expect(answer.unbroadcast(g, ()), 21.0)
    expect(answer.unbroadcast(g, (2, 3)), g)
    expect(answer.unbroadcast(7.0, ()), 7.0)


def test_broadcasting_is_undone_for_any_shapes(answer, rng):
    for dtype in ("float64", "float32"):
        g = rng.uniform(0.5, 2.0, (2, 3, 4)).astype(dtype)  # of one sign: nothing cancels
        for shape in [(4,), (1,), (3, 4), (3, 1), (1, 4), (2, 3, 4), (2, 1, 4), (1, 3, 1)]:
            want = np.zeros(shape)
            for place in np.ndindex(g.shape):
                used = place[g.ndim - len(shape) :]
                want[tuple(0 if size == 1 else i for i, size in zip(used, shape))] += g[place]
            expect(answer.unbroadcast(g, shape), want.astype(dtype))
    column = rng.uniform(0.5, 2.0, (5, 1))
    expect(answer.unbroadcast(column, (1,)), np.array([sum(column[:, 0])]))
    expect(answer.unbroadcast(column, (1, 1)), np.array([[sum(column[:, 0])]]))


def test_every_node_comes_after_its_parents(answer, rng):
    check_order(answer.topological_order(DIAMOND, "L"), DIAMOND, "L")
    late = {  # from L, "c" is found at once, but the longer path must come before it
        "L": ("add", ("c", "outer")),
        "outer": ("sin", ("inner",)),
        "inner": ("sin", ("c",)),
        "c": ("exp", ("x",)),
        "x": ("input", ()),
    }
    check_order(answer.topological_order(late, "L"), late, "L")
    for _ in range(3):
        graph, made = random_graph(rng)
        output = list(made)[-1]
        check_order(answer.topological_order(graph, output), graph, output)
    graph = shuffled(chain(7), rng)  # its nodes are ints
    check_order(answer.topological_order(graph, 7), graph, 7)


def test_only_what_the_output_depends_on_is_listed(answer):
    check_order(answer.topological_order(UNUSED, "L"), UNUSED, "L")
    check_order(answer.topological_order(DIAMOND, "total"), DIAMOND, "total")
    check_order(answer.topological_order(DIAMOND, "a"), DIAMOND, "a")
    graph = {7: ("sin", (4,)), 5: ("add", (9, 2)), 4: ("sin", (2,)), 2: ("input", ())}
    graph[9] = ("input", ())
    check_order(answer.topological_order(graph, 4), graph, 4)


def test_a_node_that_is_used_twice_is_listed_once(answer, rng):
    square = {"y": ("multiply", ("x", "x")), "x": ("input", ())}
    check_order(answer.topological_order(square, "y"), square, "y")
    graph = shuffled(doublings(60), rng)  # 2 to the power of 60 paths
    check_order(answer.topological_order(graph, 60), graph, 60)


def test_a_graph_may_be_deeper_than_python_can_recurse(answer, rng):
    graph = shuffled(chain(1500), rng)
    check_order(answer.topological_order(graph, 1500), graph, 1500)


def test_the_values_of_the_diamond_by_hand(answer):
    expect(
        answer.forward(DIAMOND, {"a": 2.0, "b": 3.0}, "L"),
        {"a": 2.0, "b": 3.0, "product": 6.0, "total": 5.0, "L": 30.0},
        mistakes={
            "the inputs are missing; they are nodes too": {"product": 6.0, "total": 5.0, "L": 30.0},
            "the value of the output alone, but all of them are asked for": 30.0,
        },
    )


def test_values_of_arrays_broadcast(answer, rng):
    graph = {
        "loss": ("sum", ("ratio",)),
        "ratio": ("divide", ("e", "y")),
        "difference": ("subtract", ("b", "x")),
        "e": ("exp", ("difference",)),
        **dict.fromkeys("xby", ("input", ())),
    }
    x, b, y = numbers(rng, 3), numbers(rng), rng.uniform(0.5, 2.0, (2, 1))
    e = np.array([math.exp(b - each) for each in x])
    ratio = np.array([[e[j] / y[i, 0] for j in range(3)] for i in range(2)])
    expect(
        answer.forward(graph, {"x": x, "b": b, "y": y}, "loss"),
        dict(x=x, b=b, y=y, difference=b - x, e=e, ratio=ratio, loss=math.fsum(ratio.ravel())),
    )


def test_nothing_is_evaluated_that_the_output_does_not_need(answer, rng):
    expect(
        answer.forward(UNUSED, {"a": 3.0, "b": 5.0}, "L"),
        {"a": 3.0, "L": 9.0},
        mistakes={
            "nodes are evaluated that the output does not depend on": dict(
                a=3.0, b=5.0, L=9.0, aside=2.0, after=math.sin(9.0)
            ),
            "an input is listed that the output does not depend on": {"a": 3.0, "b": 5.0, "L": 9.0},
        },
    )
    graph, made = random_graph(rng)
    output = list(made)[-1]
    want = {node: value for node, value in made.items() if node in needed(graph, output)}
    inputs = {node: value for node, value in want.items() if graph[node] == ("input", ())}
    expect(answer.forward(graph, inputs, output), want, tolerance=LOOSE)


def test_the_shares_of_several_children_add_up(answer):
    graph = {  # L = a (a + b) at a = 2, b = 3
        "L": ("multiply", ("a", "total")),
        "total": ("add", ("a", "b")),
        "a": ("input", ()),
        "b": ("input", ()),
    }
    values = {"a": 2.0, "b": 3.0, "total": 5.0, "L": 10.0}
    expect(
        answer.backward(graph, values, "L"),
        {"L": 1.0, "total": 2.0, "a": 7.0, "b": 2.0},
        mistakes={
            OVERWRITTEN: {"L": 1.0, "total": 2.0, "a": 2.0, "b": 2.0},
            "only the first share is kept, but shares must add up": dict(
                L=1.0, total=2.0, a=5.0, b=2.0
            ),
            "the walk begins at the inputs: it must begin at the output": dict(
                L=1.0, total=2.0, a=5.0, b=0.0
            ),
            "the inputs only, but all nodes are asked for": {"a": 7.0, "b": 2.0},
            "the output itself is missing; its derivative is 1": {"total": 2.0, "a": 7.0, "b": 2.0},
        },
    )
    values = {"a": 2.0, "b": 3.0, "product": 6.0, "total": 5.0, "L": 30.0}
    expect(
        answer.backward(DIAMOND, values, "L"),
        {"L": 1.0, "product": 5.0, "total": 6.0, "a": 21.0, "b": 16.0},
    )


def test_a_node_used_twice_by_one_operation_receives_two_shares(answer, rng):
    x = numbers(rng)
    for operation, value, slope in [("multiply", x * x, 2 * x), ("add", 2 * x, 2.0)]:
        graph = {"L": (operation, ("x", "x")), "x": ("input", ())}
        expect(
            answer.backward(graph, {"x": x, "L": value}, "L"),
            {"L": 1.0, "x": slope},
            mistakes={
                "a parent that stands twice in one operation gets one of its two shares": dict(
                    L=1.0, x=slope / 2
                ),
            },
        )
    graph = {"L": ("add", ("zero", "x")), "zero": ("subtract", ("x", "x")), "x": ("input", ())}
    expect(
        answer.backward(graph, {"x": x, "zero": 0.0, "L": x}, "L"),
        {"L": 1.0, "zero": 1.0, "x": 1.0},
        mistakes={OVERWRITTEN: {"L": 1.0, "zero": 1.0, "x": -1.0}},
    )


def test_a_node_hands_on_its_shares_when_all_of_its_own_have_arrived(answer, rng):
    graph = {  # L = c + sin(sin(c)), c = sin(x): the question of the notebook
        "L": ("add", ("c", "outer")),
        "outer": ("sin", ("inner",)),
        "inner": ("sin", ("c",)),
        "c": ("sin", ("x",)),
        "x": ("input", ()),
    }
    x = numbers(rng, low=0.5, high=1.2)
    c = math.sin(x)
    inner, outer = math.sin(c), math.sin(math.sin(c))
    by_c = 1 + math.cos(inner) * math.cos(c)
    known = {"L": 1.0, "outer": 1.0, "inner": math.cos(inner), "c": by_c}
    values = {"x": x, "c": c, "inner": inner, "outer": outer, "L": c + outer}
    for first, second in [("c", "outer"), ("outer", "c")]:
        graph["L"] = ("add", (first, second))
        expect(
            answer.backward(graph, values, "L"),
            dict(known, x=by_c * math.cos(x)),
            mistakes={
                "a node hands on its shares before all of its own have arrived": dict(
                    known, x=math.cos(x)
                ),
                "a share that has been handed on already is handed on again": dict(
                    known, x=(1 + by_c) * math.cos(x)
                ),
            },
        )


def test_nodes_that_the_output_does_not_depend_on_are_absent(answer):
    values = {"a": 3.0, "b": 5.0, "aside": 2.0, "L": 9.0, "after": math.sin(9.0)}
    expect(
        answer.backward(UNUSED, values, "L"),
        {"L": 1.0, "a": 6.0},
        mistakes={
            "nodes that the output does not depend on are there, with zero": dict(
                dict.fromkeys(values, 0.0), L=1.0, a=6.0
            ),
        },
    )
    expect(answer.backward(UNUSED, values, "aside"), {"aside": 1.0, "b": 1.0, "a": -1.0})


def test_the_derivative_by_every_node_agrees_with_forward_mode(answer, rng):
    for _ in range(2):
        graph, made = random_graph(rng)
        output = list(made)[-1]
        nodes = sorted(needed(graph, output))
        got = answer.backward(graph, made, output)
        expect(sorted(got) if isinstance(got, dict) else got, nodes)
        # As one array, so that an error is measured against the largest: small ones may cancel.
        want = np.array([slope_by_moving(graph, made, node, output) for node in nodes])
        expect(np.array([got[node] for node in nodes]), want)


def test_the_derivative_of_arrays_has_the_shape_of_each_node(answer, rng):
    graph = {  # L = Σ (X w + b)
        "L": ("sum", ("y",)),
        "y": ("add", ("Xw", "b")),
        "Xw": ("multiply", ("X", "w")),
        **dict.fromkeys("bwX", ("input", ())),
    }
    X, w, b = numbers(rng, 4, 3), numbers(rng, 3), numbers(rng)
    ones = np.ones((4, 3))
    y = X * w + b
    values = {"X": X, "w": w, "b": b, "Xw": X * w, "y": y, "L": float(y.sum())}
    known = {"L": 1.0, "y": ones, "Xw": ones, "X": np.array([list(w)] * 4)}
    expect(
        answer.backward(graph, values, "L"),
        {**known, "w": np.array([math.fsum(X[:, j]) for j in range(3)]), "b": 12.0},
        mistakes={BROADCAST_BACK: {**known, "w": X, "b": ones}},
    )


def test_a_share_is_not_added_into_an_array_that_others_hold(answer, rng):
    graph = {  # L = Σ (a + b), b = sin(a): a and b receive the same g, and a receives more
        "L": ("sum", ("total",)),
        "total": ("add", ("a", "b")),
        "b": ("sin", ("a",)),
        "a": ("input", ()),
    }
    a = numbers(rng, 3, low=0.2, high=1.0)
    b = np.sin(a)
    values = {"a": a, "b": b, "total": a + b, "L": float((a + b).sum())}
    by_a, ones = 1 + np.sqrt(1 - b * b), np.ones(3)
    expect(
        answer.backward(graph, values, "L"),
        {"L": 1.0, "total": ones, "b": ones, "a": by_a},
        mistakes={
            "a share is added in place, into an array that other nodes hold too": dict(
                L=1.0, total=by_a, b=by_a, a=by_a
            ),
        },
    )


def test_the_walk_passes_each_node_once_and_not_each_path(answer, rng):
    # Node 0 receives huge, 4,096 and −huge, the last one by the longest way. Path by path the
    # 4,096 arrive as so many ones, each of them lost beside huge; node by node nothing is lost.
    huge, sums = 2.0**60, [0, *(f"sum {k}" for k in range(1, 14))]
    graph = {
        **doublings(12),
        **{each: ("sum", (before,)) for before, each in pairwise(sums)},
        "huge": ("input", ()),
        "up": ("multiply", (0, "huge")),
        "down": ("multiply", ("huge", "sum 13")),
        "more": ("add", ("up", 12)),
        "L": ("subtract", ("more", "down")),
    }
    values = {**dict.fromkeys(sums, 1.0), **{k: 2.0**k for k in range(13)}, "huge": huge}
    values |= {"up": huge, "down": huge, "more": huge + 2**12, "L": 2.0**12}
    want = {**dict.fromkeys(sums, -huge), **{k: 2.0 ** (12 - k) for k in range(13)}, "huge": 0.0}
    want |= {"up": 1.0, "down": -1.0, "more": 1.0, "L": 1.0}
    expect(
        answer.backward(shuffled(graph, rng), values, "L"),
        want,
        mistakes={EVERY_PATH: {**want, 0: 0.0}},
    )
    x = numbers(rng)
    values = {k: 2.0**k * x for k in range(61)}
    want = {k: 2.0 ** (60 - k) for k in range(61)}
    expect(answer.backward(shuffled(doublings(60), rng), values, 60), want)


def test_the_gradient_of_a_formula_by_hand(answer):
    expect(
        answer.gradient(given("formula", "lambda a, b: a * b * (a + b)"), (2.0, 3.0)),
        (21.0, 16.0),
        mistakes={
            "a dict of nodes, but a tuple in the order of the inputs is asked for": dict(
                enumerate([21.0, 16.0])
            ),
        },
    )
    expect(
        answer.gradient(given("formula", "lambda x: 3 * x * x - x / 2"), (5.0,)),
        (29.5,),
        mistakes={"the constants of the program have an entry too": (29.5, 25.0, 1.25)},
    )


def test_an_input_that_is_not_used_gets_zero(answer):
    f = given("formula", "lambda x, y, z: x * x")
    y = np.array([[1.0], [2.0]])
    expect(
        answer.gradient(f, (3.0, y, 5.0)),
        (6.0, np.zeros((2, 1)), 0.0),
        mistakes={
            "inputs that are not used are left out": (6.0,),
            "an array that is not used gets the number 0.0, not zeros of its shape": (
                6.0,
                0.0,
                0.0,
            ),
        },
    )


def test_the_gradient_of_a_loop_has_all_its_digits(answer, rng):
    x = abs(numbers(rng))
    expect(answer.gradient(given("square_root", 8), (x,)), (0.5 / math.sqrt(x),))
    expect(answer.gradient(given("repeated", "lambda x, y: x + y", 1100), (x, 2.0)), (1.0, 1100.0))


def test_the_gradient_of_a_network_agrees_with_the_complex_step(answer, rng):
    text = "lambda X, w, b, y: np.sum(np.exp(np.sin(X * w + b) / y) - b * w)"

    def loss(X, w, b, y):
        return np.sum(np.exp(np.sin(X * w + b) / y) - b * w)

    xs = numbers(rng, 4, 3), numbers(rng, 3), numbers(rng), numbers(rng, 4, 1)
    want = []
    for i, x in enumerate(xs):
        slopes = np.empty(np.shape(x))
        for place in np.ndindex(slopes.shape):
            step = np.zeros(slopes.shape, complex)
            step[place] = 1j * TINY
            slopes[place] = loss(*xs[:i], x + step, *xs[i + 1 :]).imag / TINY
        want.append(slopes if slopes.ndim else float(slopes))
    expect(answer.gradient(given("formula", text), xs), tuple(want), tolerance=LOOSE)
