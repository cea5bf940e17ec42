"""Exercise 04: the engine of reverse mode.

Notebook: 04_reverse_mode.ipynb.

You write the parts of the engine: what a node hands to its parents (`shares`, and `unbroadcast` for
arrays), the order in which to walk (`topological_order`), the way there (`forward`) and the way
back, with accumulation (`backward`). Together they make `gradient`, which differentiates whole
programs, loops and all.

A graph is plain data: a dict with an entry `node: (operation, parents)` for every node, listed in
any order. Nodes are strings or ints. `parents` is a tuple of nodes, in the order in which the
operation takes them, and a node may stand in it twice. A graph may be deeper than Python recurses
(a thousand calls), and have more paths than anybody can walk. The notebook's, L = a b (a + b):

    graph = {
        "L": ("multiply", ("product", "total")),
        "a": ("input", ()),
        "total": ("add", ("a", "b")),
        "b": ("input", ()),
        "product": ("multiply", ("a", "b")),
    }
"""

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

OPERATIONS = {  # what each operation calculates; "input" calculates nothing, its value is given
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "sin": np.sin,
    "exp": np.exp,
    "sum": np.sum,  # over all elements: an array becomes a number
}


def shares(operation, g, *xs):
    """The rules: the shares that a node hands to its parents.

    Arguments:
        operation: the node's, one of "add", "subtract", "multiply", "divide" (two parents), "sin",
            "exp", "sum" (one parent), "input" (none).
        g: what the node has received, the derivative of the output by this node; a number or an
            array of the node's shape.
        xs: the values of the parents, numbers or arrays of float64.

    Returns: a tuple with one share for each parent, in their order: g times the derivative of the
    operation by that parent. Each has the shape of g, even if NumPy has broadcast a smaller parent
    (`unbroadcast` comes later); only the share of "sum" has the shape of its parent.

        shares("multiply", 5.0, 2.0, 3.0)       is (15.0, 10.0)
        shares("input", 5.0)                    is ()
    """
    raise NotImplementedError("ex04_reverse_mode: shares")


def unbroadcast(g, shape):
    """Bring a share back to the shape that its parent had before NumPy broadcast it.

    Broadcasting uses one element of the parent in several places. Each place hands back a share of
    its own, and the shares of one element add up.

    Arguments:
        g: a number or an array; a plain Python float has neither .ndim nor .sum.
        shape: a tuple of ints that broadcasts to the shape of g: axes of g may be missing in front,
            and any axis of `shape` may have size 1 where that of g is longer.

    Returns: a number if `shape` is (), otherwise an array of that shape, of the dtype of g.

        unbroadcast(np.ones((2, 3)), (3,))      is [2., 2., 2.]
        unbroadcast(np.ones((2, 3)), (2, 1))    is [[3.], [3.]]
        unbroadcast(np.ones((2, 3)), ())        is 6.0
    """
    raise NotImplementedError("ex04_reverse_mode: unbroadcast")


def topological_order(graph, output):
    """All nodes that the output depends on, each after all of its parents.

    Arguments:
        graph: a dict as above, without cycles. It may be thousands of nodes deep: a function that
            calls itself for each parent will not do, since Python gives up at a depth of a thousand
            (and moving that limit is not allowed here, nor is graphlib). And there may be more
            paths through it than anybody can walk: look at each node a few times, not once a path.
        output: a node of the graph.

    Returns: a list of nodes, each once: the output itself, its parents, their parents and so on,
    and no others. Where several orders are right, any of them.

        topological_order(graph, "L")       is ["b", "a", "total", "product", "L"], for example
        topological_order(graph, "total")   is ["a", "b", "total"] or ["b", "a", "total"]
    """
    raise NotImplementedError("ex04_reverse_mode: topological_order")


def forward(graph, inputs, output):
    """The values of all nodes that the output depends on.

    Arguments:
        graph: a dict as above.
        inputs: a dict with the value, a number or an array, of every "input" node that the output
            depends on. (It may hold others too.)
        output: a node of the graph.

    Returns: a dict {node: value} with exactly the nodes of `topological_order`. `OPERATIONS` has
    the function of every operation.

        forward(graph, {"a": 2.0, "b": 3.0}, "total")       is {"a": 2.0, "b": 3.0, "total": 5.0}
    """
    raise NotImplementedError("ex04_reverse_mode: forward")


def backward(graph, values, output):
    """The derivative of the output by every node that it depends on, in one walk.

    Each node hands on its shares once, however many paths lead to it.

    Arguments:
        graph: a dict as above.
        values: a dict {node: value}, as `forward` returns it. (It may hold other nodes too.)
        output: a node of the graph whose value is a number.

    Returns: a dict {node: derivative}, each a number or an array of the shape of the node's value.
    It has exactly the nodes of `topological_order`, among them the output itself with 1.0; nodes
    that the output does not depend on are absent.

    At a = 2, b = 3:

        backward(graph, values, "total")        is {"total": 1.0, "a": 1.0, "b": 1.0}
        backward(graph, values, "L")["total"]   is 6.0, the value of "product"
    """
    raise NotImplementedError("ex04_reverse_mode: backward")


def record(f, xs):
    """Run f once on nodes that only write down what is done with them. (Given: nothing to write.)

    Every operator and every NumPy function that meets a Node calls `__array_ufunc__`: for ``x * y``
    the ufunc is np.multiply, for ``np.sin(x)`` it is np.sin.

    Arguments:
        f: a function of n arguments, written with ``+ - * /``, np.sin, np.exp and np.sum.
        xs: a tuple of n numbers or arrays.

    Returns: (graph, inputs, output) as `forward` takes them. Nodes are numbered as they are made:
    xs are the inputs 0 to n - 1. A constant of the program becomes an input too, with a later
    number. All inputs are floats, even if the program or xs have ints.
    """
    graph, inputs = {}, {}

    class Node(NDArrayOperatorsMixin):
        def __init__(self, operation, *parents):
            self.number = len(graph)
            graph[self.number] = (operation, tuple(parent.number for parent in parents))

        def __array_ufunc__(self, ufunc, method, *operands, **options):
            if ufunc.__name__ not in OPERATIONS or method != "__call__" or options:
                raise TypeError(f"np.{ufunc.__name__} is none of {', '.join(OPERATIONS)}")
            return Node(ufunc.__name__, *map(as_node, operands))

        def sum(self, axis=None, out=None):
            return Node("sum", self)

    def as_node(x):
        if isinstance(x, Node):
            return x
        node = Node("input")
        inputs[node.number] = 1.0 * x
        return node

    output = as_node(f(*map(as_node, xs)))
    return graph, inputs, output.number


def gradient(f, xs):
    """The derivatives of a program by all of its inputs, for the price of a few runs.

    Arguments:
        f: a function of n arguments that returns a number; `record` says what it is written with.
        xs: the point, a tuple of n numbers or arrays.

    Returns: a tuple of n numbers or arrays: entry i is the derivative by xs[i], of the shape of
    xs[i]. An input that the result does not depend on gets zero: the number 0.0, or an array of
    zeros of its shape.

        gradient(lambda a, b: a * b * (a + b), (2.0, 3.0))      is (21.0, 16.0)
    """
    raise NotImplementedError("ex04_reverse_mode: gradient")
