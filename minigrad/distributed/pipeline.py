"""Pipeline parallelism: each rank holds some layers, and micro-batches go through the ranks.

Rank i is stage i of S. What it does when is a schedule (``schedules``: GPipe, 1F1B, interleaved
1F1B, ZB-H1); the Pipeline here runs any of them. Between stages go the activations (b, L, D) of one
micro-batch at a time, and their gradients the other way:

    bytes a step = 2 · M · (S·v − 1) · b·L·D · bytes of a number

Everything is sent with ``isend``: with a send that waits for its receiver, stage i would wait for
stage i + 1 to take an activation, and that one for stage i to take a gradient.

    from minigrad.distributed.gpt_parts import cut
    from minigrad.distributed.schedules import one_f_one_b

    model = GPT(config, seed=0)
    pipe = Pipeline(comm, cut(model, comm.size), one_f_one_b(comm.size, micro_batches))
    optimizer = AdamW(pipe.parameters())
    loss = pipe.step(x, y)      # on every rank; gradients are left in .grad
    optimizer.step()
"""

import numpy as np

import minigrad as mg
from minigrad import backend
from minigrad.distributed import schedules
from minigrad.distributed.schedules import KINDS
from minigrad.distributed.shards import IGNORED
from minigrad.distributed.split_backward import input_gradient, weight_gradients
from minigrad.nn.layers import as_tensor


class Pipeline:
    """One rank's stage of a model that is cut into parts, and the schedule that it keeps to.

    Arguments: comm, a Communicator of S ranks; parts, all S·v of the model, of which this rank
    keeps its own (each a Module with ``between(inputs)``, an empty array of the shape and dtype
    that is passed on; parameters are named as in the whole model); schedule; loss, (outputs of the
    last part, targets) -> mean over a micro-batch; seconds, {kind of action: what it takes on the
    simulated clock}, none unless given. ``most_held`` is how many forward passes were kept for
    their backward at once, at most so far.

    A rank sees its own gradients alone: their norm is not the model's, which
    ``MeshTraining.clip_grad_norm`` finds. Raises ValueError for a schedule that cannot be run,
    another number of ranks or parts, and a parameter that more than two ranks have.
    """

    def __init__(self, comm, parts, schedule, loss=mg.cross_entropy, seconds=None):
        schedules.check(schedule)
        S, _, v = self.S, self.M, self.v = schedules.size(schedule)
        if comm.size != S:
            raise ValueError(
                f"Pipeline: the schedule has {S} stages, and there are {comm.size} ranks"
            )
        if len(parts) != S * v:
            raise ValueError(
                f"Pipeline: {len(parts)} parts of a model for {S} stages with {v} chunks each; "
                f"expected {S * v}"
            )
        self.comm, self.actions, self.loss = comm, schedule[comm.rank], loss
        self.parts = list(parts[comm.rank :: S])
        self.taken = schedules.taken(schedule, comm.rank)
        first = next((p.data for part in parts for p in part.parameters()), np.empty(0))
        self.like = backend.zeros((), first)  # where the model is
        self.seconds = dict.fromkeys(KINDS, 0.0) | (seconds or {})
        self.layout = _layout(parts, S)
        self.most_held = 0

    def parameters(self):
        """This stage's Parameters."""
        return list(self.named_parameters().values())

    def named_parameters(self):
        """{name in the whole model: Parameter} of this stage."""
        return {name: p for part in self.parts for name, p in part.named_parameters()}

    def step(self, inputs, targets, counted=None):
        """Forward and backward of a batch: its mean loss, a float, on every rank.

        Gradients of the mean loss are added to ``grad`` of this stage's parameters. Every rank
        gives the same inputs and targets (B, …); the first stage uses the one, the last the other.
        Micro-batches count alike; under ``cross_entropy``, or with ``counted``, as many as their
        targets that are not −100: the mean is that over all such targets, or over ``counted``.
        Raises ValueError where M does not divide B, or no target counts.
        """
        self.inputs, self.targets = (self._micro_batches(x) for x in (inputs, targets))
        self.weights = self._weights_of_losses(counted)
        self.held = {}  # {(micro-batch, chunk): (x, out), later what is left for W}
        self.sending = {}  # {(what, micro-batch, part): Handle}
        self.total = 0.0
        shared = self._set_shared_aside()
        do = {"F": self._forward, "B": self._backward, "I": self._input, "W": self._weights}
        for action in self.actions:
            do[action.kind](action)
        while self.sending:
            self.sending.popitem()[1].wait()
        self._add_shared(shared)
        total = np.full_like(self.like, self.total, np.float64)
        with self.comm.phase("loss"):
            return float(self.comm.broadcast(total, root=self.S - 1))

    def _forward(self, action):
        """x (b, …) through a chunk; the graph is kept until its backward."""
        _, m, c = action
        x = self._received(action)
        x = self.inputs[m] if x is None else mg.tensor(x, requires_grad=True)
        out = as_tensor(self.parts[c](x))
        if c * self.S + self.comm.rank == self.S * self.v - 1:
            weight = self.weights[m]  # a micro-batch in which nothing counts has no mean
            out = self.loss(out, self.targets[m]) * weight if weight else out.sum() * 0.0
            self.total += out.item()  # their sum is the batch's mean
        self.held[m, c] = x, out
        self.most_held = max(self.most_held, len(self.held))
        self._did(action, out.data)

    def _backward(self, action):
        """The gradient of a chunk's output to those of its weights and its input."""
        x, out = self.held.pop(action[1:])
        gradient = self._received(action)
        if out.node is not None:  # all before may be frozen
            out.backward(gradient)
        self._did(action, getattr(x, "grad", None))

    def _input(self, action):
        """The first half of backward: what the stage before waits for."""
        x, out = self.held.pop(action[1:])
        x = x if isinstance(x, mg.Tensor) else None
        dx, self.held[action[1:]] = input_gradient(out, self._received(action), x)
        self._did(action, dx)

    def _weights(self, action):
        """The second half."""
        weight_gradients(self.held.pop(action[1:]))
        self._did(action)

    def _received(self, action):
        """What the action needs of another stage, an array, or None."""
        needed = schedules.needs(action, self.comm.rank, self.S, self.v)
        if needed is None:
            return None
        what, m, part = needed
        like = self.parts[0].between(self.inputs[m])
        with self.comm.phase(what):
            array = self.comm.irecv(like, part % self.S).wait()
        for sent in self.taken[needed]:  # these are there: their buffers are free
            self.sending.pop(sent).wait()
        return array

    def _did(self, action, result=None):
        """Let the time go by that it took, and send on what it gave."""
        self.comm.compute(self.seconds[action.kind], str(action))
        sent = schedules.sends(action, self.comm.rank, self.S, self.v)
        if sent is not None:
            result = result.data if isinstance(result, mg.Tensor) else result
            with self.comm.phase(sent[0]):
                to = schedules.receiver(sent, self.S)
                self.sending[sent] = self.comm.isend(result, to)

    def _micro_batches(self, x):
        if len(x) % self.M:
            raise ValueError(
                f"Pipeline: rank {self.comm.rank}: a batch of {len(x)} does not divide into "
                f"{self.M} equal micro-batches"
            )
        x = x if backend.is_array(x) else np.asarray(x)
        return np.split(backend.beside(x, self.like), self.M)

    def _weights_of_losses(self, counted):
        """What the mean loss of each micro-batch counts in that of the batch."""
        if counted is None and self.loss is not mg.cross_entropy:
            return [1 / self.M] * self.M
        each = [int((t != IGNORED).sum()) for t in self.targets]
        counted = sum(each) if counted is None else counted
        if not counted:
            raise ValueError(f"Pipeline: rank {self.comm.rank}: all targets are {IGNORED}")
        return [n / counted for n in each]

    def _set_shared_aside(self):
        """[(parameter, its gradient so far, the other rank that has it)] of tied weights."""
        shared = []
        for name, p in self.named_parameters().items():
            others = self.layout[name][2] - {self.comm.rank} if p.requires_grad else ()
            shared += [(p, p.grad, other) for other in others]
            p.grad = None if others else p.grad
        return shared

    def _add_shared(self, shared):
        """The first stage and the last have a copy of tied weights each, and half a gradient."""
        for p, before, other in shared:
            with self.comm.phase("tied weights"):
                p.grad = p.grad + self.comm.send_recv(p.grad.data, other, other)
            p.grad = p.grad if before is None else p.grad + before

    def gathered(self):
        """{name: array} of all parameters of the model, on every rank."""
        own, whole, like = self.named_parameters(), {}, self.like
        with self.comm.phase("gathered"):
            for name, (shape, dtype, ranks) in self.layout.items():
                array = own[name].data if name in own else np.empty_like(like, dtype, shape=shape)
                whole[name] = self.comm.broadcast(array, root=min(ranks))
        return whole


def _layout(parts, S):
    """{name of a parameter: (shape, dtype, {ranks that have it})}: two have one that is tied."""
    layout, parameters = {}, {}
    for number, part in enumerate(parts):
        for name, p in part.named_parameters():
            if parameters.setdefault(name, p) is not p:
                raise ValueError(f"Pipeline: {name} is in two parts, and not the same parameter")
            ranks = layout.setdefault(name, (p.shape, p.dtype, set()))[2]
            ranks.add(number % S)
            if len(ranks) > 2:
                raise ValueError(f"Pipeline: {name} is on ranks {sorted(ranks)}, more than 2")
    return layout


def generate(comm, parts, prompts, new_tokens, groups=1, seconds=0.0):
    """Greedy decoding through the stages: prompts (B, L) to ids (B, L + new_tokens), on every rank.

    Each stage keeps the keys and values of its own blocks. A token cannot begin before the last one
    has left the last stage, so that one of S stages works at a time; unless the B rows are cut into
    ``groups``, which follow each other through the stages: S of them keep all stages busy.

    Arguments: parts, of the whole model, one for each rank; seconds, what a part takes on the
    simulated clock. Raises ValueError for another number of parts, groups that do not divide B,
    and more tokens than fit into the model's context.
    """
    prompts = prompts if backend.is_array(prompts) else np.asarray(prompts)
    _check_prompts(comm, parts, prompts, new_tokens, groups)
    part, last = parts[comm.rank], comm.size - 1
    prompts = backend.to_device(prompts, part.parameters()[0].device)
    fed, caches = np.split(prompts, groups), [{} for _ in range(groups)]
    answers, sending = [[rows] for rows in fed], []
    for step in range(new_tokens):
        for g in range(groups):
            x = fed[g]  # (b, L), then (b, 1)
            if comm.rank > 0:
                x = comm.irecv(part.between(x), comm.rank - 1).wait()  # (b, L, D), then (b, 1, D)
            elif step > 0 and last > 0:
                x = comm.irecv(x, last).wait()
            with mg.no_grad():
                out = part(mg.tensor(x), caches[g]).data
            comm.compute(seconds, f"{step}.{g}")
            if comm.rank == last:
                out = out[:, -1:].argmax(-1).astype(prompts.dtype)  # (b, L, V) -> (b, 1)
                answers[g].append(out)
            if last > 0 and (comm.rank < last or step < new_tokens - 1):
                sending.append(comm.isend(out, (comm.rank + 1) % comm.size))
            fed[g] = out if last == 0 else fed[g][:, -1:]
    for handle in sending:
        handle.wait()
    shape = len(prompts), prompts.shape[1] + new_tokens
    whole = np.empty_like(prompts, shape=shape)
    if comm.rank == last:
        whole = np.concatenate([np.concatenate(rows, axis=1) for rows in answers])
    return comm.broadcast(whole, root=last)


def _check_prompts(comm, parts, prompts, new_tokens, groups):
    here, context = f"generate: rank {comm.rank}:", parts[0].config.context_length
    if len(parts) != comm.size:
        raise ValueError(f"{here} {len(parts)} parts of a model for {comm.size} ranks")
    if not parts[0].config.causal:
        raise ValueError(f"{here} without a causal mask, later tokens change what is remembered")
    if prompts.ndim != 2 or prompts.dtype.kind not in "iu":
        raise ValueError(f"{here} prompts are {prompts.dtype} {prompts.shape}; expected ids (B, L)")
    if groups < 1 or len(prompts) % groups:
        raise ValueError(f"{here} {len(prompts)} prompts do not divide into {groups} equal groups")
    if not 1 <= prompts.shape[1] <= context - new_tokens:
        raise ValueError(
            f"{here} prompts of {prompts.shape[1]} tokens and {new_tokens} more; expected at least "
            f"1 and at most context_length = {context} in all"
        )


def spans(events, chunks=1):
    """The actions among a run's events, as spans for ``viz.rank_timeline``."""
    found = []
    for event in events:
        if event.kind == "compute" and event.name[0] in KINDS:
            micro_batch, _, chunk = event.name[1:].partition(".")
            role = KINDS[event.name[0]] + (f", chunk {chunk or 0}" if chunks > 1 else "")
            found.append((event.rank, event.begin, event.end, micro_batch, role))
    return found


def bubble(events):
    """The share of all ranks' time, from the first event to the last, in which they do not compute.

    With equal stages (S−1)/(M+S−1) for GPipe and 1F1B, (S−1)/(v·M+S−1) for interleaved 1F1B, and
    for M ≥ S, if forward and both halves of backward take equally long, (S−1)/(3·M+S−1) for ZB-H1.
    """
    work = [event for event in events if event.kind == "compute"]
    ranks = len({event.rank for event in work})
    whole = max(event.end for event in work) - min(event.begin for event in work)
    return 1 - sum(event.end - event.begin for event in work) / (ranks * whole)
