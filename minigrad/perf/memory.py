"""How many bytes are held, counted from what can be reached rather than from a formula."""

import gc
import types

from minigrad import backend

#: what is everybody's and so not entered: a class reaches its module, a module all of them
SHARED = (type, types.ModuleType, types.CodeType, types.FrameType, types.BuiltinFunctionType)


def live_arrays(*roots, without=()):
    """The arrays that own the memory reachable from ``roots``, each once, as a list.

    Follows attributes, slots, containers and what functions close over, but no globals, classes,
    modules or weak references. A view stands for the array whose memory it shows, whole. Single
    numbers (arrays without axes) are left out. ``without``: objects that are not entered, a
    communicator for instance, since simulated ranks reach each other's arrays through it.
    """
    seen = {id(obj) for obj in without}
    waiting, found = list(roots), {}
    while waiting:
        obj = waiting.pop()
        if id(obj) in seen or isinstance(obj, SHARED):
            continue
        seen.add(id(obj))
        if backend.is_array(obj):
            owner = _owner(obj)
            if owner.ndim:
                found[id(owner)] = owner
        elif isinstance(obj, types.FunctionType):
            inner = (obj.__closure__, obj.__defaults__, obj.__kwdefaults__, obj.__dict__)
            waiting.extend(part for part in inner if part)
        else:
            waiting.extend(gc.get_referents(obj))
    return list(found.values())


def live_bytes(*roots, without=()):
    """The bytes of ``live_arrays``: what freeing all these objects would give back.

    ``live_bytes(model)`` are parameters and their gradients, ``live_bytes(optimizer, model)`` all
    model states, ``live_bytes(loss)`` what a graph holds, parameters included.

    >>> weights = np.zeros((3, 4), np.float32)
    >>> live_bytes(weights), live_bytes({"row": weights[0], "all": [weights]})
    (48, 48)
    """
    return sum(array.nbytes for array in live_arrays(*roots, without=without))


def _owner(view):
    """The array whose memory a view shows, strided and broadcast ones too."""
    base = owner = view
    while (base := getattr(base, "base", None)) is not None:
        owner = base if backend.is_array(base) else owner
    return owner
