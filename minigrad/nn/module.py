"""Modules: layers as a tree of attributes whose leaves are named parameters."""

import contextlib

import numpy as np

from minigrad import backend, engine
from minigrad.nn import init
from minigrad.tensor import Tensor


class Parameter(Tensor):
    """A Tensor that a Module owns and an optimizer changes: float32 unless another dtype is given.

    Takes an array, Tensor or nested list of any shape; keeps a copy.
    Raises TypeError for a dtype that has no derivatives.
    """

    __slots__ = ()

    def __init__(self, data, dtype=np.float32, device=None):
        skipped = init.is_skipped()
        super().__init__(0.0 if skipped else data, dtype, device, requires_grad=True)
        if skipped:
            self.data = init.hollow(np.shape(data), self.dtype)
            self.requires_grad_()


class Module:
    """A piece of a model: owns Parameters and other Modules as attributes, in order of assignment.

    A subclass sets them in ``__init__`` (no call of ``super().__init__()`` is needed) and says
    in ``forward`` what happens to its inputs; calling the module calls ``forward``.
    """

    training = True

    def forward(self, *args, **kwargs):
        raise NotImplementedError(f"{type(self).__name__} has no forward method")

    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

    def __setattr__(self, name, value):
        holders = (list, tuple, dict)
        if isinstance(value, holders) and any(
            isinstance(item, (Parameter, Module))
            for item in (value.values() if isinstance(value, dict) else value)
        ):
            raise TypeError(
                f"{type(self).__name__}.{name}: parameters inside a {type(value).__name__} would "
                "not be found; assign each to its own name, or modules as a ModuleList"
            )
        owned = vars(self).setdefault("_parameters", {})
        if isinstance(value, Parameter):
            owned[name] = value
        else:
            owned.pop(name, None)
        vars(self)[name] = value

    def __delattr__(self, name):
        super().__delattr__(name)
        vars(self).get("_parameters", {}).pop(name, None)

    def children(self):
        """(name, module) for each module that this one owns itself."""
        return [(name, m) for name, m in vars(self).items() if isinstance(m, Module)]

    def named_modules(self, prefix=""):
        """(dotted name, module) for this module and every one below it, each once."""
        seen, stack, found = set(), [(prefix, self)], []
        while stack:
            path, module = stack.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            found.append((path, module))
            below = [(f"{path}.{name}" if path else name, m) for name, m in module.children()]
            stack.extend(reversed(below))
        return found

    def places(self):
        """(dotted name, owning module, attribute, parameter), shared parameters at every place."""
        return [
            (f"{path}.{name}" if path else name, module, name, parameter)
            for path, module in self.named_modules()
            for name, parameter in vars(module).get("_parameters", {}).items()
        ]

    def named_parameters(self):
        """(dotted name, Parameter) in order; one that is shared appears once, at its first name."""
        names = {}
        for name, _, _, parameter in self.places():
            names.setdefault(id(parameter), (name, parameter))
        return list(names.values())

    def parameters(self):
        """The Parameters, in the order of ``named_parameters``."""
        return [parameter for _, parameter in self.named_parameters()]

    @property
    def num_parameters(self):
        """How many numbers the parameters hold; shared ones count once."""
        return sum(parameter.size for parameter in self.parameters())

    def zero_grad(self):
        """Forget every parameter's gradient."""
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, mode=True):
        """Switch this module and all below it to training (dropout on); returns the module."""
        for _, module in self.named_modules():
            vars(module)["training"] = bool(mode)
        return self

    def eval(self):
        """Switch this module and all below it to evaluation (dropout off); returns the module."""
        return self.train(False)

    def to(self, device):
        """Move every parameter to "cpu", "cuda" or "cuda:1"; returns the module."""
        return self._replace_arrays(lambda array: backend.to_device(array, device))

    def astype(self, dtype):
        """Convert every parameter to a float dtype; returns the module."""
        dtype = backend.as_dtype(dtype)
        if not backend.is_floating(dtype):
            raise TypeError(f"{type(self).__name__}.astype: {dtype} has no derivatives")
        return self._replace_arrays(lambda array: array.astype(dtype, copy=False))

    def _replace_arrays(self, convert):
        for parameter in self.parameters():
            parameter.data = convert(parameter.data)
            parameter.grad = None
            parameter.requires_grad_(parameter.requires_grad)  # a leaf of the new dtype
        return self

    def state_dict(self):
        """{dotted name: array}, a snapshot that later training steps do not change."""
        return {name: parameter.data.copy() for name, parameter in self.named_parameters()}

    def load_state_dict(self, state, strict=True):
        """Write arrays of a ``state_dict`` into the parameters.

        Arguments: state, {dotted name: array or Tensor}; strict=False allows names that are
        missing or too many. Returns (missing, unexpected) names.
        Raises ValueError that lists every name or shape or dtype that does not fit; nothing has
        been written then.
        """
        own = dict(self.named_parameters())
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        problems = []
        if strict and missing:
            problems.append(f"missing: {', '.join(missing)}")
        if strict and unexpected:
            problems.append(f"unexpected: {', '.join(unexpected)}")
        arrays = {
            name: v.data if isinstance(v, Tensor) else v for name, v in state.items() if name in own
        }
        for name, array in arrays.items():
            have, want = (array.shape, array.dtype), (own[name].shape, own[name].dtype)
            if have != want:
                problems.append(
                    f"{name}: given shape {have[0]} {have[1]}, expected {want[0]} {want[1]}"
                )
        if problems:
            title = f"{type(self).__name__}.load_state_dict: the state does not fit"
            raise ValueError("\n  ".join([title, *problems]))
        for name, array in arrays.items():
            parameter = own[name]
            parameter.data[...] = backend.to_device(array, parameter.device)
            engine.wrote(parameter.data)
        return missing, unexpected

    def extra_repr(self):
        """What stands between the brackets of a layer's printed form."""
        return ""

    def __repr__(self):
        return f"{type(self).__name__}({self.extra_repr()})" + "".join(
            f"\n  {line}" for line in self._lines_below()
        )

    def _lines_below(self):
        """The children's printed lines; neighbours that print alike are folded into one."""
        runs = []
        for name, child in self.children():
            text = repr(child)
            if runs and runs[-1][2] == text:
                runs[-1][1] = name
            else:
                runs.append([name, name, text])
        for first, last, text in runs:
            label = first if first == last else f"{first} to {last}"
            yield from f"{label}: {text}".splitlines()


@contextlib.contextmanager
def evaluating(module):
    """A module in evaluation mode for a while, then each part of it in the mode it was in."""
    before = [(part, part.training) for _, part in module.named_modules()]
    module.eval()
    try:
        yield module
    finally:
        for part, training in before:
            part.training = training


class ModuleList(Module):
    """A list of modules: index it, iterate over it, append to it. It has no ``forward``."""

    def __init__(self, modules=()):
        self.extend(modules)

    def append(self, module):
        """Add a module at the end; returns the list."""
        if not isinstance(module, Module):
            raise TypeError(
                f"{type(self).__name__}: expected a Module, got {type(module).__name__}"
            )
        setattr(self, str(len(self)), module)
        return self

    def extend(self, modules):
        """Add several modules at the end; returns the list."""
        for module in modules:
            self.append(module)
        return self

    def __len__(self):
        return len(self.children())

    def __iter__(self):
        return iter([module for _, module in self.children()])

    def __getitem__(self, index):
        chosen = [module for _, module in self.children()][index]
        return type(self)(chosen) if isinstance(index, slice) else chosen


class Sequential(ModuleList):
    """Modules called one after the other, each on the output of the one before."""

    def __init__(self, *modules):
        self.extend(modules)

    def forward(self, x):
        for module in self:
            x = module(x)
        return x

    def __getitem__(self, index):
        chosen = [module for _, module in self.children()][index]
        return type(self)(*chosen) if isinstance(index, slice) else chosen
