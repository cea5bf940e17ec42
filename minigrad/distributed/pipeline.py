"""Pipeline parallelism: each rank holds some layers, and micro-batches go through the ranks.

Rank i is stage i of S. What it does when is a schedule (``schedules``: GPipe, 1F1B, interleaved 1F1B,
ZB-H1); the Pipeline here runs any of them. Between stages go the activations (b, L, D) of one
micro-batch at a time, and their gradients the other way:

    bytes a step = 2 · M · (S·v − 1) · b·L·D · bytes of a number

Everything is sent with ``isend``: with a send that waits for its receiver, stage i would wait for
stage i + 1 to take an activation, and that one for stage i to take a gradient.

    model = GPT(config, seed=0)
    pipe = Pipeline(comm, cut(model, comm.size), one_f_one_b(comm.size, micro_batches))
    optimizer = AdamW(pipe.parameters())
    loss = pipe.step(x, y)      # on every rank; gradients are left in .grad
    optimizer.step()
"""

import numpy as np

import minigrad as mg
from minigrad import backend, nn
from minigrad.distributed import schedules
from minigrad.distributed.schedules import KINDS, gpipe, interleaved, one_f_one_b, zero_bubble
from minigrad.distributed.split_backward import input_gradient, weight_gradients
from minigrad.models import GPT

TAGS = {"activation": 0, "gradient": 1}


class GPTPart(nn.Module):
    """Some blocks of a GPT that follow each other; the first part has the embeddings too, the last
    one the norm and the head. Parameters keep the names that they have in the model."""

    def __init__(self, model, start, stop):
        self.config, self.start = model.config, start
        self.is_first, self.is_last = start == 0, stop == model.config.n_layers
        if self.is_first:
            self.token_embedding, self.dropout = model.token_embedding, model.dropout
            if model.config.positions == "learned":
                self.position_embedding = model.position_embedding
        self.blocks = nn.ModuleList()
        for i in range(start, stop):
            setattr(self.blocks, str(i), model.blocks[i])
        if self.is_last:
            self.norm = model.norm
            if model.config.tie_weights:
                self.token_embedding = model.token_embedding
            else:
                self.head = model.head

    def forward(self, x, cache=None):
        """Ids (B, L) in the first part, else activations (B, L, D), to activations (B, L, D), or
        logits (B, L, V) in the last part. ``cache``: {number of a block: (keys, values)} of the
        tokens before; those of these tokens are added."""
        if self.is_first:
            x = self._embedded(x, cache)  # (B, L) -> (B, L, D)
        for i, block in enumerate(self.blocks, self.start):
            x = block(x, remember=None if cache is None else _remembering(cache, i))
        if not self.is_last:
            return x
        x = self.norm(x)
        if self.config.tie_weights:
            return mg.linear(x, self.token_embedding.weight.T)  # (B, L, D) -> (B, L, V)
        return self.head(x)

    def _embedded(self, ids, cache):
        past = cache[0][0].shape[2] if cache else 0
        x = self.token_embedding(backend.to_device(ids, self.token_embedding.weight.device))
        if self.config.positions == "learned":
            x = x + self.position_embedding.weight[past : past + ids.shape[1]]  # + (L, D)
        return self.dropout(x)

    def between(self, ids):
        """An empty array (B, L, D) for the activations of ids (B, L), as parts exchange them."""
        weight = self.parameters()[0].data
        shape = (*np.shape(ids), self.config.d_model)
        return backend.array_module(weight).empty(shape, weight.dtype)


def _remembering(cache, i):
    """What block i does with its keys and values (B, n_h, L, H): all of them so far."""

    def remember(k, v):
        if i in cache:
            k, v = (mg.concatenate([old, new], axis=2) for old, new in zip(cache[i], (k, v)))
        cache[i] = k, v
        return k, v

    return remember


def cut(model, parts):
    """The model as a list of so many parts with equally many blocks, which share its parameters.

    Tied weights are in the first part and in the last; Pipeline adds up their gradients.
    Raises TypeError for what is no GPT, ValueError where ``parts`` does not divide its layers.
    """
    if not isinstance(model, GPT):
        raise TypeError(f"cut: expected a GPT, got {type(model).__name__}")
    layers = model.config.n_layers
    if parts < 1 or layers % parts:
        raise ValueError(f"cut: {layers} layers do not divide into {parts} equal parts")
    each = layers // parts
    return [GPTPart(model, i, i + each) for i in range(0, layers, each)]


class Pipeline:
    """One rank's stage of a model that is cut into parts, and the schedule that it keeps to.

    Arguments: comm, a Communicator of S ranks; parts, all S·v of the model, of which this rank keeps
    its own (each a Module with ``between(inputs)``, an empty array of the shape and dtype that is
    passed on); schedule; loss, (outputs of the last part, targets) -> mean over a micro-batch;
    seconds, {kind of action: what it takes on the simulated clock}, none unless given.
    ``most_held`` is how many activations of (micro-batch, chunk) were kept at once so far.

    Raises ValueError for a schedule that cannot be run, or for another number of ranks or parts.
    """

    def __init__(self, comm, parts, schedule, loss=mg.cross_entropy, seconds=None):
        schedules.check(schedule)
        self.S, self.M, self.v = S, M, v = schedules.size(schedule)
        if comm.size != S:
            raise ValueError(f"Pipeline: the schedule has {S} stages, and there are {comm.size} ranks")
        if len(parts) != S * v:
            raise ValueError(
                f"Pipeline: {len(parts)} parts of a model for {S} stages with {v} chunks each; "
                f"expected {S * v}"
            )
        self.comm, self.actions, self.loss = comm, schedule[comm.rank], loss
        self.parts = nn.ModuleList(parts[comm.rank :: S])
        self.seconds = dict.fromkeys(KINDS, 0.0) | (seconds or {})
        self.layout = {}  # {name of a parameter: (shape, dtype, ranks that have it)}
        for number, part in enumerate(parts):
            for name, p in part.named_parameters():
                _, _, ranks = self.layout.setdefault(name, (p.shape, p.dtype, set()))
                ranks.add(number % S)
        self.held = {}  # {(micro-batch, chunk): (x, out), later what is left for W}
        self.sending = {}  # {(what, micro-batch, part): Handle}
        self.most_held = 0

    def parameters(self):
        """This stage's Parameters."""
        return self.parts.parameters()

    def step(self, inputs, targets):
        """Forward and backward of a batch: its mean loss, a float, on every rank.

        Gradients of the mean loss are added to ``grad`` of this stage's parameters. Every rank gives
        the same inputs and targets (B, …); the first stage uses the one, the last stage the other.
        Raises ValueError where M does not divide B.
        """
        self.inputs, self.targets = (self._micro_batches(x) for x in (inputs, targets))
        self.total = 0.0
        do = {"F": self._forward, "B": self._backward, "I": self._input, "W": self._weights}
        for action in self.actions:
            do[action.kind](action)
        while self.sending:
            self.sending.popitem()[1].wait()
        self._add_shared()
        with self.comm.phase("loss"):
            return float(self.comm.broadcast(np.array(self.total), root=self.S - 1))

    def _forward(self, action):
        """x (b, …) through a chunk; the graph is kept until its backward."""
        _, m, c = action
        x = self._received(action)
        x = self.inputs[m] if x is None else mg.tensor(x, requires_grad=True)
        out = self.parts[c](x)
        if c * self.S + self.comm.rank == self.S * self.v - 1:
            out = self.loss(out, self.targets[m]) / self.M  # their sum is the batch's mean
            self.total += out.item()
        self.held[m, c] = x, out
        self.most_held = max(self.most_held, len(self.held))
        self._did(action, out.data)

    def _backward(self, action):
        """The gradient of a chunk's output to those of its weights and its input."""
        x, out = self.held.pop(action[1:])
        out.backward(self._received(action))
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
        source = part % self.S
        with self.comm.phase(what):
            array = self.comm.irecv(
                self.parts[0].between(self.inputs[m]), source, tag=TAGS[what]
            ).wait()
        if what == "gradient":  # then the activation has long been there: its buffer is free
            self.sending.pop(("activation", m, part - 1)).wait()
        return array

    def _did(self, action, result=None):
        """Let the time go by that it took, and send on what it gave."""
        self.comm.compute(self.seconds[action.kind], str(action))
        sent = schedules.sends(action, self.comm.rank, self.S, self.v)
        if sent is not None:
            what, step = sent[0], 1 if action.kind == "F" else -1
            result = result.data if isinstance(result, mg.Tensor) else result
            with self.comm.phase(what):
                to = (self.comm.rank + step) % self.S
                self.sending[sent] = self.comm.isend(result, to, tag=TAGS[what])

    def _micro_batches(self, x):
        if len(x) % self.M:
            raise ValueError(
                f"Pipeline: rank {self.comm.rank}: a batch of {len(x)} does not divide into "
                f"{self.M} equal micro-batches"
            )
        return np.split(np.asarray(x), self.M)

    def _add_shared(self):
        """Tied weights: the first stage and the last have a copy each, and a part of the gradient."""
        own = dict(self.parts.named_parameters())
        for name, (_, _, ranks) in self.layout.items():
            if name in own and len(ranks) > 1:
                (other,) = ranks - {self.comm.rank}
                with self.comm.phase("tied weights"):
                    grad = own[name].grad
                    own[name].grad = grad + self.comm.send_recv(grad.data, other, other)

    def gathered(self):
        """{name: array} of all parameters of the model, on every rank."""
        own, whole = dict(self.parts.named_parameters()), {}
        with self.comm.phase("gathered"):
            for name, (shape, dtype, ranks) in self.layout.items():
                array = own[name].data if name in own else np.empty(shape, dtype)
                whole[name] = self.comm.broadcast(array, root=min(ranks))
        return whole


def generate(comm, parts, prompts, new_tokens, groups=1, seconds=0.0):
    """Greedy decoding through the stages: prompts (B, L) to ids (B, L + new_tokens), on every rank.

    Each stage keeps the keys and values of its own blocks. A token can begin only when the one
    before it has left the last stage, so that S − 1 of S stages always wait; unless the B rows are
    cut into ``groups`` (S or more), which follow each other through the stages.

    Arguments: parts, all of the model; seconds, what a part takes on the simulated clock. Raises
    ValueError for groups that do not divide B, for parts that S does not divide, for more tokens
    than the model's context.
    """
    prompts = np.asarray(prompts)
    own = _own_parts(comm, parts, prompts, new_tokens, groups)
    texts, caches = np.split(prompts, groups), [{} for _ in range(groups)]
    before, after = (comm.rank - 1) % comm.size, (comm.rank + 1) % comm.size
    sending = []
    for step in range(new_tokens):
        for part in own:
            for g, text in enumerate(texts):
                new = text if step == 0 else text[:, -1:]  # (b, L), then (b, 1)
                if not part.is_first:
                    new = comm.irecv(part.between(new), before).wait()  # (b, L, D)
                elif step > 0 and comm.size > 1:
                    new = comm.irecv(new, before).wait()
                with mg.no_grad():
                    out = part(mg.tensor(new), caches[g]).data
                comm.compute(seconds, f"{step}.{g}")
                if part.is_last:
                    out = out[:, -1:].argmax(-1).astype(text.dtype)  # (b, L, V) -> (b, 1)
                    texts[g] = np.concatenate([text, out], axis=1)
                elif not part.is_last:
                    pass
                if comm.size > 1 and not (part.is_last and step == new_tokens - 1):
                    sending.append(comm.isend(out, after))
    ...
