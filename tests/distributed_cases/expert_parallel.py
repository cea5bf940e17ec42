"""Expert parallelism trains as one device does; with capacity, as one that drops rank by rank."""

import functools
import math
from functools import partial

import numpy as np

import minigrad as mg
from distributed_cases import HOME, Case
from minigrad import nn, optim
from minigrad.distributed import expert_parallel
from minigrad.models import GPT, GPTConfig
from minigrad.training import next_token_loss

STEPS, BATCH, LENGTH, VOCABULARY, WIDTH, EXPERTS = 5, 8, 7, 11, 12, 4
DRAWN = np.random.default_rng(5).integers(VOCABULARY, size=(STEPS, BATCH, LENGTH + 1))
CHOICES = {"2 of 4": dict(top_k=2), "1 of 4": dict(top_k=1, gates="all"), "3 of 4": dict(top_k=3)}


class DropsByRank(nn.MixtureOfExperts):
    """The layer by the definition: every expert sees every token, most with weight 0. Tokens come
    in ``groups`` equal groups, each with a queue of its own before every expert."""

    groups = 1

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1])
        scores = rows @ self.router.weight
        probabilities = mg.softmax(scores)
        order = np.argsort(-scores.data, axis=1)[:, : self.router.top_k]
        kept = np.zeros(scores.shape)  # 1 where a token reaches the expert that it has chosen
        wanted = np.zeros(scores.shape)
        for group in np.split(np.arange(len(rows)), self.groups):
            limit = math.inf
            if self.capacity_factor is not None:
                wishes = self.router.top_k * len(group)
                limit = math.ceil(self.capacity_factor * wishes / self.n_experts)
            taken = [0] * self.n_experts
            for choice in range(self.router.top_k):
                for token in group:
                    expert = order[token, choice]
                    wanted[token, expert] = 1
                    if taken[expert] < limit:
                        taken[expert] += 1
                        kept[token, expert] = 1
        over = probabilities
        if self.router.gates == "chosen":
            over = probabilities * wanted
            over = over / over.sum(axis=1, keepdims=True)
        share = wanted.sum(axis=0) / wanted.sum()
        self.auxiliary_loss = (share * probabilities.mean(axis=0)).sum() * self.n_experts
        self.dropped = int(wanted.sum() - kept.sum())
        weights = over * kept
        y = sum(weights[:, e : e + 1] * expert(rows) for e, expert in enumerate(self.experts))
        return y.reshape(x.shape)


def built(layer=nn.MixtureOfExperts, capacity_factor=None, top_k=2, gates="chosen"):
    """A GPT with experts, the same at each call, in float64."""
    model = GPT(GPTConfig(VOCABULARY, LENGTH, WIDTH, 2, 2), seed=0)
    with nn.init.seeded(1):
        for block in model.blocks:
            block.mlp = layer(
                WIDTH, EXPERTS, top_k, 20, capacity_factor=capacity_factor, gates=gates
            )
    return model.astype("float64")


def trained(model, share=1, part=0, average=None):
    """(losses, [choices dropped]) of some steps on one share of each batch."""
    optimizer = optim.AdamW(model.parameters(), lr=1e-2)
    losses, dropped = [], []
    for ids in np.split(DRAWN, share, axis=1)[part]:
        optimizer.zero_grad()
        loss = next_token_loss(model, ids[:, :-1], ids[:, 1:]) + 0.1 * nn.auxiliary_loss(model)
        loss.backward()
        if average is not None:
            average(model)
        optimizer.step()
        losses.append(loss.item())
        dropped.append(sum(block.mlp.dropped for block in model.blocks))
    return losses, dropped


@functools.cache
def reference(groups, capacity_factor, choice):
    """(losses, parameters, [choices dropped]) of one device."""
    model = built(DropsByRank, capacity_factor, **CHOICES[choice])
    for block in model.blocks:
        block.mlp.groups = groups
    losses, dropped = trained(model)
    return losses, model.state_dict(), dropped


def train(comm, capacity_factor=None, choice="2 of 4"):
    """(losses of the whole batch, {name as on one device: array}, [choices dropped here])."""
    model = built(capacity_factor=capacity_factor, **CHOICES[choice]).to(HOME)
    expert_parallel.expert_parallel(model, comm)
    average = partial(expert_parallel.average_gradients, comm=comm)
    losses, dropped = trained(model, comm.size, comm.rank, average)
    first = comm.rank * EXPERTS // comm.size
    named = {whole_name(name, first): array for name, array in model.state_dict().items()}
    return comm.all_reduce(np.array(losses), "mean"), named, dropped


def whole_name(name, first):
    """The name that a rank's parameter has on one device: its experts count from ``first``."""
    head, experts, tail = name.partition(".experts.")
    number, _, rest = tail.partition(".")
    return f"{head}{experts}{int(number) + first}.{rest}" if experts else name


def check_training(results, capacity_factor=None, choice="2 of 4"):
    groups = 1 if capacity_factor is None else len(results)
    losses, parameters, dropped = reference(groups, capacity_factor, choice)
    seen = set()
    for found, mine, _ in results:
        np.testing.assert_allclose(found, losses, rtol=0, atol=1e-12)
        for name, array in mine.items():
            np.testing.assert_allclose(array, parameters[name], rtol=0, atol=1e-12, err_msg=name)
        seen |= set(mine)
    assert seen == set(parameters)
    assert sum(np.array(each) for _, _, each in results).tolist() == dropped
    if capacity_factor is not None:
        assert min(dropped) > 0


def uneven(comm):
    """Ranks with 1, 4, 7, … tokens, none of which chooses expert 2: y, dx, the gradient's sums."""
    layer, x, g = uneven_inputs(comm.size)
    mine = slice(*np.cumsum([0, *uneven_counts(comm.size)])[comm.rank : comm.rank + 2])
    layer = expert_parallel.ExpertParallel(layer.to(HOME), comm)
    x = mg.tensor(x[mine], device=HOME, requires_grad=True)
    y = layer(x)
    (y * mg.tensor(g[mine], device=HOME)).sum().backward()
    expert_parallel.average_gradients(layer, comm)
    grads = {name: p.grad.numpy() * comm.size for name, p in layer.named_parameters()}
    return y.numpy(), x.grad.numpy(), grads, layer.load


def uneven_counts(size):
    return [3 * rank + 1 for rank in range(size)]


def uneven_inputs(size):
    rng = np.random.default_rng(size)
    with nn.init.seeded(2):
        layer = nn.MixtureOfExperts(5, 4, 2, 3, activation="relu").astype("float64")
    layer.router.weight.data[0] = [0, 0, -40, 0]
    x, g = rng.normal(size=(2, sum(uneven_counts(size)), 5))
    x[:, 0] = 1 + x[:, 0] ** 2
    return layer, x, g


def check_uneven(results):
    layer, x, g = uneven_inputs(len(results))
    x = mg.tensor(x, requires_grad=True)
    y = layer(x)
    (y * g).sum().backward()
    assert layer.load[2] == 0
    close = partial(np.testing.assert_allclose, rtol=0, atol=1e-12)
    close(np.concatenate([r[0] for r in results]), y.numpy())
    close(np.concatenate([r[1] for r in results]), x.grad.numpy())
    parameters = dict(layer.named_parameters())
    for rank, (_, _, grads, load) in enumerate(results):
        assert load.tolist() == layer.load.tolist()
        for name, grad in grads.items():
            whole = whole_name("." + name, rank * 4 // len(results))[1:]
            close(grad, parameters[whole].grad.numpy(), err_msg=name)


CASES = {
    f"{choice}, {size} ranks": Case(
        partial(train, choice=choice), size, partial(check_training, choice=choice)
    )
    for choice, size in [("2 of 4", 1), ("2 of 4", 2), ("2 of 4", 4), ("1 of 4", 4), ("3 of 4", 2)]
}
CASES |= {
    f"capacity {factor}, {choice}, {size} ranks": Case(
        partial(train, capacity_factor=factor, choice=choice),
        size,
        partial(check_training, capacity_factor=factor, choice=choice),
    )
    for factor, choice, size in [(1.0, "2 of 4", 2), (1.0, "2 of 4", 4), (0.6, "1 of 4", 4)]
}
CASES |= {f"uneven tokens, {size} ranks": Case(uneven, size, check_uneven) for size in (2, 4)}
