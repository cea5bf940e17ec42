"""Calling a module as a function of its parameters."""

import contextlib

from minigrad.tensor import Tensor


@contextlib.contextmanager
def _swapped(changes):
    """Attributes replaced for a while: changes is [(module, name, value)]."""
    before = [(module, name, vars(module)[name]) for module, name, _ in changes]
    try:
        for module, name, value in changes:
            vars(module)[name] = value
        yield
    finally:
        for module, name, value in before:
            vars(module)[name] = value


def functional_call(module, parameters, *args, **kwargs):
    """Call a module with other values in the place of its parameters, as the transforms need.

    Arguments: parameters, {dotted name: array or Tensor} with the parameters' own shapes (names
    left out keep their own value; a shared parameter is replaced everywhere); then the module's
    arguments. Returns what the module returns. The module is as it was afterwards, also when the
    call raises. Raises ValueError for a name or shape that the module does not have.

    >>> import minigrad as mg
    >>> layer = mg.nn.Linear(3, 2)
    >>> weights = {name: p.data for name, p in layer.named_parameters()}
    >>> loss = lambda w: mg.nn.functional_call(layer, w, [[1.0, 2.0, 3.0]]).sum()
    >>> sorted(mg.grad(loss)(weights))
    ['bias', 'weight']
    """
    own = dict(module.named_parameters())
    unknown = [name for name in parameters if name not in own]
    if unknown:
        raise ValueError(
            f"functional_call: {type(module).__name__} has no parameter named "
            f"{', '.join(map(repr, unknown))}; it has {', '.join(own)}"
        )
    values = {}
    for name, value in parameters.items():
        value = value if isinstance(value, Tensor) else Tensor.constant(value)
        if value.shape != own[name].shape:
            raise ValueError(
                f"functional_call: {name} has shape {value.shape}, expected {own[name].shape}"
            )
        values[id(own[name])] = value
    changes = [
        (owner, attribute, values[id(parameter)])
        for _, owner, attribute, parameter in module.places()
        if id(parameter) in values
    ]
    with _swapped(changes):
        return module(*args, **kwargs)
