"""Nested dicts, lists and tuples of arrays: taking them apart and putting them together."""


def flatten(tree):
    """The leaves of nested dicts, lists and tuples, in order, and a function that rebuilds it."""
    if isinstance(tree, dict):
        children, make = list(tree.values()), lambda values: type(tree)(zip(tree, values))
    elif isinstance(tree, tuple) and hasattr(tree, "_fields"):
        children, make = list(tree), lambda values: type(tree)(*values)
    elif isinstance(tree, (list, tuple)):
        children, make = list(tree), type(tree)
    elif tree is None:
        return [], lambda leaves: None
    else:
        return [tree], lambda leaves: leaves[0]
    parts = [flatten(child) for child in children]

    def rebuild(leaves):
        leaves, values = list(leaves), []
        for child, build in parts:
            values.append(build(leaves[: len(child)]))
            del leaves[: len(child)]
        return make(values)

    return [each for child, _ in parts for each in child], rebuild


def tree_map(f, tree, *others):
    """``f`` applied to corresponding leaves; the others must have the structure of the first."""
    leaves, rebuild = flatten(tree)
    rest = [same_structure(other, tree, "tree_map") for other in others]
    return rebuild([f(*each) for each in zip(leaves, *rest)])


def same_structure(tree, like, what):
    """The leaves of ``tree``, or a ValueError when it is not built as ``like`` is."""
    if _structure(tree) != _structure(like):
        raise ValueError(
            f"{what}: the structures differ: got {_structure(tree)}, expected {_structure(like)}"
        )
    return flatten(tree)[0]


def _structure(tree):
    """The tree with a star for each leaf."""
    leaves, rebuild = flatten(tree)
    return rebuild([_Star()] * len(leaves))


class _Star:
    def __eq__(self, other):
        return isinstance(other, _Star)

    def __hash__(self):
        return 0

    def __repr__(self):
        return "*"


def map_leaves(f, tree):
    """``f`` applied to every leaf."""
    leaves, rebuild = flatten(tree)
    return rebuild([f(each) for each in leaves])
