"""Nested dicts, lists and tuples of arrays: taking them apart and putting them together."""

import copy


def flatten(tree):
    """The leaves of nested dicts, lists and tuples, in order, and a function that rebuilds it.

    Everything else is a leaf, but for None, which is a branch without leaves.
    """
    leaves = []
    _collect(tree, leaves)
    return leaves, lambda values: _rebuild(tree, iter(values))


def _collect(tree, leaves):
    if isinstance(tree, (list, tuple)):
        for child in tree:
            _collect(child, leaves)
    elif isinstance(tree, dict):
        for child in tree.values():
            _collect(child, leaves)
    elif tree is not None:
        leaves.append(tree)


def _ordered_as(tree, like):
    """The tree with the keys of its dicts in the order that ``like`` has them."""
    if isinstance(like, dict):
        return {key: _ordered_as(tree[key], child) for key, child in like.items()}
    if isinstance(like, (list, tuple)):
        return [_ordered_as(child, other) for child, other in zip(tree, like)]
    return tree


def _rebuild(like, values):
    if isinstance(like, dict):
        rebuilt = copy.copy(like)  # type(like)(...) would not suit a defaultdict
        rebuilt.update({key: _rebuild(child, values) for key, child in like.items()})
        return rebuilt
    if isinstance(like, (list, tuple)):
        children = [_rebuild(child, values) for child in like]
        return type(like)(*children) if hasattr(like, "_fields") else type(like)(children)
    return None if like is None else next(values)


def tree_map(f, tree, *others):
    """``f`` applied to corresponding leaves; the others must have the structure of the first."""
    leaves, rebuild = flatten(tree)
    rest = [same_structure(other, tree, "tree_map") for other in others]
    return rebuild([f(*each) for each in zip(leaves, *rest)])


def same_structure(tree, like, what):
    """The leaves of ``tree`` in the order of those of ``like``; ValueError unless they are built
    alike. Dicts need the same keys, in any order."""
    got, expected = _structure(tree), _structure(like)
    if got != expected:
        raise ValueError(f"{what}: the structures differ: got {got}, expected {expected}")
    return flatten(_ordered_as(tree, like))[0]


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
