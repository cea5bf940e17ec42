"""ZeRO: data parallelism in which no rank holds everything.

Bytes of model states a rank holds, for Ψ parameters whose weights and gradients take 2 bytes and
whose optimizer takes κ = 12 (float32 master weights and Adam's m and v), on P ranks:

    stage  shared out          bytes a rank holds      sent per step and rank, in 2Ψ·(P − 1)/P bytes
    0      nothing             (2 + 2 + κ)·Ψ           2: AllReduce of gradients
    1      optimizer states    2Ψ + 2Ψ + κΨ/P          2: ReduceScatter, AllGather of weights
    2      gradients, too      2Ψ + (2 + κ)·Ψ/P        2: the same
    3      weights, too        (2 + 2 + κ)·Ψ/P         3: AllGather twice, ReduceScatter

Parameters lie side by side in flat arrays (``flat``), one for each block of the model, padded to a
multiple of P; rank r owns share r. Source: Rajbhandari et al. 2020; Zhao et al. 2023 (FSDP).

The table is what lasts. While backward runs, stages 2 and 3 hold two blocks' gradients beside the
shares, one on its way and one being filled, and what is in no block (embeddings, the head) whole
from head to embedding; stage 3 holds such weights whole, and of blocks those of the one that runs
and of the next. It gathers what is in no block once a step, not twice: 2 in place of 3 for it.
"""

import contextlib
import math

import numpy as np

from minigrad import backend, engine
from minigrad.distributed import gradients
from minigrad.distributed.blocks import Gathered, in_groups, outermost_blocks, replace
from minigrad.distributed.flat import Unit
from minigrad.optim import AdamW
from minigrad.tensor import Tensor


class ZeRO:
    """A module and its optimizer, with states shared out among the ranks of ``comm``.

        zero = ZeRO(model, comm, stage=2, optimizer=functools.partial(AdamW, lr=1e-3))
        loss = next_token_loss(zero, local_batch(x, comm), local_batch(y, comm))
        zero.backward(loss)
        zero.step()
        zero.zero_grad()

    Ranks begin with rank 0's parameters; gradients are means over ranks. Parameters in half
    precision get float32 master weights, others are their own (κ is then 2 numbers a parameter).
    Frozen parameters stay whole on every rank; freezing or converting some afterwards asks for
    another ZeRO. Training resumes exactly, on as many ranks, from ``state_dict(masters=True)`` and
    every rank's own ``optimizer.state_dict()``.

    Gradients leave in one order, the last block's first, which need not be that of a rank's own
    backward. Stage 3 also gathers in backward: all ranks must run the blocks in the same order.

    In stage 3 a block's weights are gathered just before it runs, while the block before is still
    at work, and freed after it. What it saved is dropped, too: backward gathers again and runs the
    block once more, as ``checkpoint`` does. What is in no block (embeddings, the head) is gathered
    as forward begins and freed when backward is past it. A parameter that is not there is NaN.

    Arguments:
        stage: 0 to 3.
        optimizer: parameters -> Optimizer; one that treats every number alike (SGD, AdamW).
        blocks: modules whose parameters travel together, in the order in which they run; None
            takes the items of all outermost ModuleLists and Sequentials.
        prefetch: stage 3: whether the next block is gathered while one runs.
        algorithm, work: as for DataParallel.
    """

    def __init__(
        self,
        module,
        comm,
        stage,
        optimizer=AdamW,
        *,
        blocks=None,
        prefetch=True,
        algorithm=None,
        work=0.0,
    ):
        if stage not in (0, 1, 2, 3):
            raise ValueError(f"ZeRO: stage is {stage!r}; expected 0, 1, 2 or 3")
        if not callable(optimizer):
            raise TypeError(f"ZeRO: optimizer is {optimizer!r}; expected functools.partial(…)")
        self.module, self.comm, self.stage = module, comm, stage
        self.prefetch, self.algorithm, self.work = prefetch, algorithm, work
        self.names = {p: name for name, p in module.named_parameters()}
        self.kinds = gradients.kinds(module)
        self.shares = gradients.Shares("ZeRO", comm)
        gradients.broadcast_parameters(module, comm)
        blocks = outermost_blocks(module) if blocks is None else list(blocks)
        groups = in_groups(module, blocks)
        if not any(groups):
            raise ValueError("ZeRO: the module has no parameters that require gradients")
        units = [Unit(group, comm, stage) if group else None for group in groups]
        self.rest, self.blocks = units[-1], [unit for unit in units[:-1] if unit]
        self.units = [unit for unit in units if unit]
        self.unit_of = {p: unit for unit in self.units for p in unit.views}
        self.optimizer = optimizer([unit.shard for unit in self.units])
        self.in_backward, self.under_way, self.waiting = False, None, []
        self.shared = None  # the unit that blocks need beside their own
        if stage == 3:
            self._wrap(blocks, units)

    def _wrap(self, blocks, units):
        """Let blocks gather what they need, and see which of them need more than their own."""
        for block, unit in zip(blocks, units):
            if unit is not None:
                replace(self.module, block, Gathered(block, unit, self))
            if self.rest is not None and any(p in self.rest.views for p in block.parameters()):
                self.shared = self.rest

    def __call__(self, *args, **kwargs):
        """What the module makes of this rank's share of the batch."""
        gradients.unchanged("ZeRO", self.module, self.kinds, self.comm)
        self.shares.take(args)
        if self.stage < 3:
            self.comm.compute(self.work * sum(unit.size for unit in self.units), "forward")
            return self.module(*args, **kwargs)
        with self.gathered(self.rest):
            return self.module(*args, **kwargs)

    def backward(self, loss, gradient=None, *, reduce=True, weight=None):
        """Backward from ``loss`` (with ``gradient``, unless it is a number), gradients averaged.

        ``reduce=False`` for all micro-batches of a step but the last: stages 0 and 1 then add up
        first and reduce once; stages 2 and 3 have no room for that and reduce every time. Raises
        errors, and takes ``weight``, as DataParallel does.
        """
        gradients.unchanged("ZeRO", self.module, self.kinds, self.comm)
        loss = self.shares.weighted(loss, weight)
        for unit in self.units:
            unit.begin()
        reduce = reduce or self.stage >= 2
        self.waiting = [unit for unit in (self.rest, *self.blocks) if unit and reduce]
        self.in_backward = True
        if self.stage == 3 and self.prefetch and self.blocks:
            self._begin_gather(self.blocks[-1])
        try:
            with self.gathered(self.shared, runs=False), engine.state(on_leaf=self._on_leaf):
                loss.backward(gradient)
        finally:
            self.in_backward = False
        self._settle()
        if missed := [p for unit in self.units for p in unit.views if p in unit.missing]:
            raise gradients.unused("ZeRO", self.names[missed[0]], self.comm)

    def step(self):
        """Update this rank's shares, and let all have the new weights (stage 3: when needed)."""
        for unit, gradient in zip(self.units, self._gradients("step")):
            unit.written()
            unit.shard.grad = Tensor.constant(gradient.astype(unit.shard.dtype, copy=False))
        self.optimizer.step()
        before = None
        for unit in self.units:
            unit.shard.grad = unit.coming = None  # what was gathered too early is old now
            unit.own_weights[...] = unit.shard.data
            engine.wrote(unit.weights)
            unit.noted()
            if self.stage in (1, 2):
                with self.comm.phase("weights"):
                    handle = self._collective("all_gather", unit.own_weights)
                self._receive(before)
                before = unit, handle
        self._receive(before)

    def zero_grad(self):
        """Forget the gradients, and free their memory."""
        for unit in self.units:
            unit.forget()

    def clip_grad_norm(self, max_norm):
        """Scale all gradients so that the norm over all ranks' shares is at most ``max_norm``.

        Returns the norm before, a float. Raises FloatingPointError when it is not finite.
        """
        if not max_norm > 0:
            raise ValueError(f"ZeRO.clip_grad_norm: max_norm must be positive, got {max_norm}")
        own = self._gradients("clip_grad_norm")
        squares = np.array([float(np.square(g.astype(np.float64)).sum()) for g in own])
        norm = math.sqrt((squares if self.stage == 0 else self.comm.all_reduce(squares)).sum())
        if not math.isfinite(norm):
            raise FloatingPointError(f"ZeRO.clip_grad_norm: the gradients' norm is {norm}")
        if norm > max_norm:
            for g in own:
                g *= g.dtype.type(max_norm / norm)
        return norm

    def state_dict(self, masters=False):
        """{dotted name: array}: the whole model on every rank, which all call together.

        ``masters`` gives float32 master weights in place of what is in half precision.
        """
        state = {p: p.data for p in self.names}
        for unit in self.units:
            unit.written()
            whole = unit.shard.data if masters else unit.weights
            if len(whole) < unit.length:
                with self.comm.phase("weights"):
                    whole = self.comm.all_gather(whole, algorithm=self.algorithm)
            state.update({p: whole[place].reshape(p.shape) for p, place in unit.views.items()})
        return {name: state[p].copy() for p, name in self.names.items()}

    def load_state_dict(self, state):
        """Write a whole model's arrays, either kind of ``state_dict``, into weights and masters.

        Raises ValueError that names what does not fit; nothing has been written then.
        """
        wrong = state.keys() ^ set(self.names.values())
        for p, name in self.names.items():
            master = self.unit_of[p].shard.dtype if p in self.unit_of else p.dtype
            fitting = [(p.shape, p.dtype), (p.shape, master)]
            if name in state and (state[name].shape, state[name].dtype) not in fitting:
                wrong.add(name)
        if wrong:
            raise ValueError(
                f"ZeRO.load_state_dict: rank {self.comm.rank}: missing, unknown, or of another "
                f"shape or dtype: {', '.join(sorted(wrong))}"
            )
        for p in self.names.keys() - self.unit_of.keys():
            p.data[...] = backend.to_device(state[self.names[p]], p.device)
            engine.wrote(p.data)
        for unit in self.units:
            unit.load({p: backend.to_device(state[self.names[p]], p.device) for p in unit.views})

    @property
    def padding(self):
        """How many numbers the flat arrays hold beyond the parameters, over all ranks."""
        return sum(unit.length - unit.size for unit in self.units)

    # Gradients: a unit is reduced when backward has come to all of its parameters and those of the
    # units behind it in ``waiting``.

    def _on_leaf(self, tensor, g):
        unit = self.unit_of.get(tensor)
        if unit is None:
            return False
        self.comm.compute(2 * self.work * tensor.size, f"backward {self.names[tensor]}")
        unit.add(tensor, g)
        while self.waiting and not self.waiting[-1].missing:
            self._settle()  # one unit is on its way while the next one fills
            unit = self.waiting.pop()
            what = "all_reduce" if self.stage == 0 else "reduce_scatter"
            with self.comm.phase("gradients"):
                self.under_way = unit, self._collective(what, unit.filling, op="mean")
        return True

    def _gradients(self, what):
        """This rank's shares of the gradients, one a unit."""
        if any(unit.gradient is None for unit in self.units):
            raise ValueError(f"ZeRO.{what}: there are no gradients; backward() comes first")
        if not all(unit.complete for unit in self.units):
            raise ValueError(
                f"ZeRO.{what}: the gradients are this rank's own as yet; the last backward() of a "
                "step takes reduce=True"
            )
        return [unit.own_gradient for unit in self.units]

    def _settle(self):
        """Wait for the gradients that are on their way."""
        if self.under_way is not None:
            (unit, handle), self.under_way = self.under_way, None
            unit.reduced(handle.wait())

    def _collective(self, name, x, **parameters):
        call = getattr(self.comm, name)
        return call(x, algorithm=self.algorithm, async_op=True, **parameters)

    def _receive(self, coming):
        if coming is not None:
            unit, handle = coming
            unit.weights[...] = handle.wait()

    # Weights in stage 3: there while they are used.

    @contextlib.contextmanager
    def gathered(self, unit, runs=True):
        """Inside of this, the parameters of a unit (if any) are there, to be run or to be read."""
        if unit is None:
            yield
            return
        if unit.coming is None:
            self._begin_gather(unit)
        handle, unit.coming = unit.coming, None
        unit.show(handle.wait())
        if runs and self.prefetch and unit in self.blocks:
            self._begin_gather(self._next(unit))
        try:
            if runs:
                self.comm.compute(self.work * unit.size, "forward")
            yield
        finally:
            unit.hide()

    def _begin_gather(self, unit):
        if unit is not None and unit.coming is None:
            with self.comm.phase("weights"):
                unit.coming = self._collective("all_gather", unit.own_weights)

    def _next(self, unit):
        """The block that runs after this one: backward runs them again, the last first."""
        place = self.blocks.index(unit) + (-1 if self.in_backward else 1)
        return self.blocks[place] if 0 <= place < len(self.blocks) else None
