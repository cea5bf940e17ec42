"""Optimizers, gradient clipping and learning-rate schedules.

An optimizer changes the arrays of its parameters in place from the gradients that ``backward``
left in ``.grad``. It never writes into a gradient, which other tensors may share.
"""

import functools
import importlib
import math

import numpy as np

from minigrad import backend, engine
from minigrad.tensor import Tensor


class Optimizer:
    """What all optimizers share: parameter groups, the learning rate and saved state.

    Arguments: parameters, Tensors that require gradients, or a list of groups, each a dict with
    ``"params"`` and any of the optimizer's options for these alone; lr and the other options,
    for all groups that do not say otherwise.
    Raises ValueError for no parameters, one given twice, or an option out of range; TypeError
    for what is not a parameter or option.
    """

    #: the arrays kept for each parameter, by name
    slots = ()

    def __init__(self, parameters, **options):
        name = type(self).__name__
        given = list(parameters)
        groups = given if given and isinstance(given[0], dict) else [{"params": given}]
        self.groups = []
        for group in groups:
            if unknown := set(group) - set(options) - {"params"}:
                raise TypeError(
                    f"{name}: a group has the unknown option {sorted(unknown)[0]!r}; "
                    f"it takes params, {', '.join(options)}"
                )
            merged = {**options, **group, "params": list(group["params"])}
            self.check(merged)
            merged["lr_ratio"] = merged["lr"] / options["lr"] if options["lr"] else 1.0
            self.groups.append(merged)
        self._lr = options["lr"]
        self.parameters = [p for group in self.groups for p in group["params"]]
        if not self.parameters:
            raise ValueError(f"{name}: no parameters given")
        for p in self.parameters:
            if not isinstance(p, Tensor) or not p.requires_grad:
                raise TypeError(f"{name}: expected Tensors that require gradients, got {p!r}")
        if len({id(p) for p in self.parameters}) < len(self.parameters):
            raise ValueError(f"{name}: a parameter is given twice")
        self.state = {}
        self.steps = 0

    def check(self, group):
        """Raise ValueError for an option out of range."""
        for name in ("lr", "eps", "weight_decay"):
            if not group.get(name, 0) >= 0:
                raise ValueError(
                    f"{type(self).__name__}: {name} must not be negative or NaN, got {group[name]}"
                )

    @property
    def lr(self):
        """The learning rate; setting it scales every group's own rate in proportion."""
        return self._lr

    @lr.setter
    def lr(self, value):
        self._lr = value
        for group in self.groups:
            group["lr"] = value * group["lr_ratio"]

    def zero_grad(self):
        """Forget every parameter's gradient."""
        for p in self.parameters:
            p.grad = None

    def step(self):
        """Change every parameter that has a gradient."""
        self.steps += 1
        for group in self.groups:
            ready = [p for p in group["params"] if p.grad is not None]
            for p in ready:
                if p not in self.state:
                    self.state[p] = {name: np.zeros_like(p.data) for name in self.slots}
            self.update_all([(p.data, p.grad.data, self.state[p]) for p in ready], group)
            for p in ready:
                engine.wrote(p.data)

    def update_all(self, entries, group):
        """Update each of a group's (p, g, state)."""
        for p, g, state in entries:
            self.update(p, g, state, group)

    def update(self, p, g, state, group):
        """Change the array p in place, given its gradient g, its state and its group's options."""
        raise NotImplementedError

    def state_dict(self):
        """{name: array or number}: the steps taken and each parameter's slots, copied."""
        state = {"steps": self.steps}
        for index, p in enumerate(self.parameters):
            for name, array in self.state.get(p, {}).items():
                state[f"{index}.{name}"] = array.copy()
        return state

    def load_state_dict(self, state):
        """Go on from a ``state_dict`` of the same optimizer over parameters of the same shapes.

        The learning rate and other options stay as they were given to this optimizer.
        Raises ValueError for state of another optimizer or of parameters of other shapes.
        """
        loaded = {}
        for key, array in state.items():
            if key == "steps":
                continue
            index, _, name = key.partition(".")
            fits = index.isdigit() and int(index) < len(self.parameters) and name in self.slots
            if not fits or array.shape != self.parameters[int(index)].shape:
                raise ValueError(
                    f"{type(self).__name__}.load_state_dict: entry {key!r} of shape "
                    f"{array.shape} belongs to no parameter here; was it saved by another "
                    "optimizer or for another model?"
                )
            p = self.parameters[int(index)]
            slots = loaded.setdefault(p, {})
            slots[name] = backend.to_device(array, p.device).astype(p.dtype, copy=True)
        incomplete = [slots for slots in loaded.values() if set(slots) != set(self.slots)]
        if "steps" not in state or incomplete:
            raise ValueError(
                f"{type(self).__name__}.load_state_dict: expected the steps and, for each "
                f"parameter, all of {', '.join(self.slots) or 'no slots'}"
            )
        self.steps, self.state = int(state["steps"]), loaded

    def __repr__(self):
        count = sum(p.size for p in self.parameters)
        return f"{type(self).__name__}({count:,} parameters, lr={self.lr:g}, steps={self.steps})"


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum and Nesterov's variant, as PyTorch writes them.

    g' = g + weight_decay·p; v = momentum·v + g'; p −= lr·v, or lr·(g' + momentum·v) for Nesterov.
    Arguments: see Optimizer. Raises ValueError for Nesterov without momentum.
    """

    def __init__(self, parameters, lr=1e-2, momentum=0.0, nesterov=False, weight_decay=0.0):
        super().__init__(
            parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
        )
        if any(group["momentum"] for group in self.groups):
            self.slots = ("velocity",)

    def check(self, group):
        super().check(group)
        if not 0 <= group["momentum"] < 1:
            raise ValueError(f"SGD: momentum must be in [0, 1), got {group['momentum']}")
        if group["nesterov"] and not group["momentum"]:
            raise ValueError("SGD: nesterov needs momentum above 0")

    def update(self, p, g, state, group):
        momentum = group["momentum"]
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        if momentum:
            velocity = state["velocity"]
            velocity *= momentum
            velocity += g
            g = g + momentum * velocity if group["nesterov"] else velocity
        p -= group["lr"] * g


class AdamW(Optimizer):
    """Adam with weight decay apart from the gradient (Loshchilov and Hutter 2019).

    m = β1·m + (1 − β1)·g; v = β2·v + (1 − β2)·g²; with m̂ = m/(1 − β1ᵗ) and v̂ = v/(1 − β2ᵗ) at
    step t: p −= lr·weight_decay·p, then p −= lr·m̂/(√v̂ + eps). Arguments: see Optimizer.
    """

    slots = ("m", "v")
    decoupled = True

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def check(self, group):
        super().check(group)
        if not all(0 <= beta < 1 for beta in group["betas"]) or len(group["betas"]) != 2:
            raise ValueError(
                f"{type(self).__name__}: betas must be two numbers in [0, 1), got {group['betas']}"
            )

    def update_all(self, entries, group):
        decay = group["weight_decay"]
        if decay and not self.decoupled:
            entries, decay = _decayed(entries, decay), 0.0
        settings = {
            "lr": group["lr"],
            "beta1": group["betas"][0],
            "beta2": group["betas"][1],
            "eps": group["eps"],
            "weight_decay": decay,
            "step": self.steps,
        }
        together = {}  # {(dtype, device): what one launch on a GPU updates}
        for p, g, state in entries:
            arrays = p, g, state["m"], state["v"]
            if engine.kernels_on() and _launchable(p, g):
                together.setdefault((p.dtype, backend.device_of(p)), []).append(arrays)
            else:
                step = fused_step() if engine.kernels_on() and _fusable(p, g) else adamw_step
                step(*arrays, **settings)
        for several in together.values():
            _launched_step()(*zip(*several), **settings)


class Adam(AdamW):
    """Adam (Kingma and Ba 2015); weight decay, if any, is added to the gradient: g + decay·p."""

    decoupled = False

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr, betas, eps, weight_decay)


def adamw_step(p, g, m, v, *, lr, beta1, beta2, eps, weight_decay, step):
    """One AdamW step on arrays of one shape, in place: what the fused kernel must compute."""
    p *= 1 - lr * weight_decay
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * (g * g)
    root = np.sqrt(v) / math.sqrt(1 - beta2**step)
    p -= (lr / (1 - beta1**step)) * m / (root + eps)


def _decayed(entries, decay):
    for p, g, state in entries:
        yield p, g + decay * p, state


@functools.cache
def fused_step():
    """The compiled CPU kernel of ``adamw_step``."""
    return importlib.import_module("minigrad.cpu.adamw").adamw_step


@functools.cache
def _launched_step():
    """The GPU kernel of ``adamw_step``, for lists of arrays."""
    return importlib.import_module("kernels.adamw").adamw_step


def _launchable(p, g):
    on_gpu = backend.array_module(p) is not np
    return on_gpu and p.flags.c_contiguous and p.dtype == g.dtype and p.dtype.itemsize < 8


def _fusable(p, g):
    contiguous = p.flags.c_contiguous
    return type(p) is np.ndarray and contiguous and p.dtype == g.dtype and p.dtype.char in "fd"


def clip_grad_norm(parameters, max_norm):
    """Scale all gradients so that their joint Euclidean norm is at most ``max_norm``.

    Returns the norm before clipping, a float. Gradients are replaced, not written into. It sees
    ``grad`` alone, of one device: a model whose gradients ZeRO keeps has none there, and nothing
    would happen (norm 0.0); ``ZeRO.clip_grad_norm`` is for those.
    Raises FloatingPointError when the norm is NaN or infinite: no scale would mend that.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm: max_norm must be positive, got {max_norm}")
    parameters = [p for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(_sum_of_squares(p.grad.data) for p in parameters))
    if not math.isfinite(norm):
        broken = [i for i, p in enumerate(parameters) if not np.isfinite(p.grad.data).all()]
        raise FloatingPointError(
            f"clip_grad_norm: the gradients' norm is {norm}; NaN or infinity in those of "
            f"parameters number {broken} (mg.detect_anomaly says which op made it)"
        )
    if norm > max_norm:
        scale = max_norm / norm
        for p in parameters:
            p.grad = Tensor.constant(p.grad.data * p.dtype.type(scale))
    return norm


def _sum_of_squares(g):
    flat = g.reshape(-1)
    if flat.dtype in backend.HALF:
        flat = flat.astype(np.float32)
    return float(flat @ flat)


def constant(lr):
    """Schedule: always ``lr``."""
    return lambda step: lr


def step_decay(lr, every, factor=0.1):
    """Schedule: ``lr``, multiplied by ``factor`` after each ``every`` steps."""
    if every < 1:
        raise ValueError(f"step_decay: every must be at least 1 step, got {every}")
    return lambda step: lr * factor ** (step // every)


def cosine(lr, steps, warmup=0, final=0.0):
    """Schedule: a linear rise to ``lr`` in ``warmup`` steps, then half a cosine down to ``final``.

    ``final`` is met at step ``steps`` and kept; steps count from 0 (Loshchilov and Hutter 2017).
    """
    if not 0 <= warmup < steps:
        raise ValueError(f"cosine: expected 0 <= warmup < steps, got {warmup} and {steps}")

    def schedule(step):
        if step < warmup:
            return lr * (step + 1) / warmup
        progress = min((step - warmup) / (steps - warmup), 1.0)
        return final + (lr - final) * (1 + math.cos(math.pi * progress)) / 2

    return schedule
