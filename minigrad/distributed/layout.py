"""Which layout for which model on which cluster: memory and seconds of a training step, predicted.

A layout shares P devices out as data × tensor × pipeline. Rank ((p·data) + d)·tensor + t holds
stage p, replica d, share t: tensor groups are neighbours, stages are far apart (Narayanan et al.
2021). The prediction is a formula a line, so that one can see what a choice costs; it leaves out
norms, biases and positions (under 1 % of the parameters of a large model), work in the optimizer,
and every overlap of messages with work. Simulated ranks that send these messages take just as long
without a pipeline, and as long within a tenth with one.

    cluster = Cluster(64, H100, Nodes())
    found = best(GPT3_13B, cluster, batch=512)
    predict(GPT3_13B, cluster, found.layout, batch=512).parts
"""

import itertools
from dataclasses import dataclass
from typing import NamedTuple

from minigrad.distributed.simulated.topology import Nodes
from minigrad.perf.activations import block_activations
from minigrad.perf.devices import Device

WEIGHT, GRADIENT, OPTIMIZER = 2, 2, 12  # bytes a parameter, mixed-precision Adam
ACTIVATION = 2  # bytes an element
NODES = Nodes()  # eight devices each, as its docstring says


@dataclass(frozen=True)
class Model:
    """A GPT: l layers, width D, n_h heads, texts of L tokens, V words."""

    layers: int
    width: int
    heads: int
    length: int
    vocabulary: int

    @property
    def parameters(self):
        """12·l·D² of the blocks, V·D of the embedding, which is also the head."""
        return 12 * self.layers * self.width**2 + self.vocabulary * self.width


@dataclass(frozen=True)
class Cluster:
    """Devices in nodes. ``utilisation``: the share of the peak that matrix products reach;
    ``memory``: bytes of a device that training may use, None for all."""

    devices: int
    device: Device
    wires: Nodes = NODES
    utilisation: float = 0.5
    memory: int | None = None

    @property
    def flops(self):
        """FLOP/s that a device reaches with 2-byte numbers."""
        return self.device.float16 * self.utilisation

    @property
    def room(self):
        """Bytes that a device has for training."""
        return self.device.memory if self.memory is None else self.memory

    def link(self, ranks):
        """(α, β) among so many ranks in a row: those of a node if it holds them all."""
        wires = self.wires
        if ranks <= wires.per_node:
            return wires.alpha, 1 / wires.bandwidth
        sharing = max(1, wires.per_node // wires.cards)
        return wires.network_alpha, sharing / wires.network_bandwidth


class Layout(NamedTuple):
    """Replicas, shares of a layer, stages; ZeRO's stage (0: none); micro-batches of a replica."""

    data: int
    tensor: int
    pipeline: int
    zero: int
    micro_batches: int


class Prediction(NamedTuple):
    """Of the slowest and fullest device: seconds of a step, and {what for: seconds} that add up to
    them; bytes, and {what: bytes}."""

    layout: Layout
    seconds: float
    parts: dict
    memory: float
    held: dict


def predict(model, cluster, layout, batch):
    """The Prediction for a step of ``batch`` texts. Raises ValueError for a layout that does not
    fit the numbers of devices, heads, words, tokens, layers and texts (whether memory suffices,
    ``held`` says)."""
    if why := misfit(model, cluster, layout, batch):
        raise ValueError(f"{layout}: {why}")
    parts, held = _seconds(model, cluster, layout, batch), _bytes(model, layout, batch)
    return Prediction(layout, sum(parts.values()), parts, sum(held.values()), held)


def misfit(model, cluster, layout, batch):
    """Why a layout is none for this model on this cluster, in words; None if it is one."""
    data, tensor, pipeline, zero, micro_batches = layout
    if min(layout[:3]) < 1 or micro_batches < 1 or zero not in (0, 1, 2, 3):
        return "expected positive numbers, and a ZeRO stage from 0 to 3"
    if data * tensor * pipeline != cluster.devices:
        return f"{data} × {tensor} × {pipeline} is not {cluster.devices} devices"
    for many, what, parts, of in (
        (model.heads, "heads", tensor, "tensor shares"),
        (model.vocabulary, "words", tensor, "tensor shares"),
        (model.length, "tokens of a text", tensor, "tensor shares"),  # in sequence parallelism
        (model.layers, "layers", pipeline, "stages"),
        (batch, "texts", data * micro_batches, "replicas times micro-batches"),
    ):
        if many % parts:
            return f"{many} {what} do not divide into {parts} {of}"
    return None


def _stage(model, layout):
    """Parameters of the fullest stage on each of its devices: l/S layers, and the embedding."""
    blocks = 12 * model.width**2 * model.layers // layout.pipeline
    return (blocks + model.vocabulary * model.width) / layout.tensor


def _bytes(model, layout, batch):
    """{what: bytes} on a device of the first stage."""
    data, tensor, pipeline, zero, micro_batches = layout
    own = _stage(model, layout)
    texts = batch // (data * micro_batches)
    sizes = model.length, texts, model.width, model.heads, tensor
    # With tensor parallelism comes sequence parallelism: the same bytes on the wires.
    block = sum(block_activations(*sizes, sequence=True).values())
    gathered = 2 * WEIGHT * 12 * model.width**2 / tensor  # a layer at work, the next on its way
    return {
        "parameters": WEIGHT * own / (data if zero >= 3 else 1),
        "gradients": GRADIENT * own / (data if zero >= 2 else 1),
        "optimizer": OPTIMIZER * own / (data if zero >= 1 else 1),
        "gathered layers": gathered if zero >= 3 else 0.0,
        "activations": block * (model.layers // pipeline) * min(pipeline, micro_batches),
    }


def _seconds(model, cluster, layout, batch):
    """{what for: seconds}: M + S − 1 slots, each a micro-batch forward and backward on a stage;
    then what is left of the exchange between replicas."""
    data, tensor, pipeline, zero, micro_batches = layout
    layers, texts = model.layers // pipeline, batch // (data * micro_batches)
    tokens = texts * model.length
    own = _stage(model, layout)

    # 2 FLOPs a parameter and token forward, 4 backward; scores and their sums: 4·L·D, and 8·L·D
    work = tokens * (6 * own + 12 * layers * model.length * model.width / tensor)
    activations = ACTIVATION * tokens * model.width
    within, among = cluster.link(tensor), cluster.link(tensor * data)
    beyond = cluster.link(2 * tensor * data)

    half = ring_half(tensor, activations, *within)
    slot = {
        "work": work / cluster.flops,
        # per layer two AllReduce forward and two backward, each two halves
        "tensor": 8 * layers * half,
        "pipeline": 2 * (beyond[0] + activations / tensor * beyond[1]) if pipeline > 1 else 0.0,
    }
    half = ring_half(data, WEIGHT * own, *among)
    if zero == 3:  # a layer at a time: gathered forward and backward, gradients scattered
        slot["data"] = 3 * layers * ring_half(data, WEIGHT * own / layers, *among)
        rest = 0.0
    elif zero == 2:  # gradients leave after every micro-batch; parameters come back once
        slot["data"], rest = half, half
    else:
        slot["data"], rest = 0.0, 2 * half
    parts = {what: micro_batches * seconds for what, seconds in slot.items()}
    parts["bubble"] = (pipeline - 1) * sum(slot.values())
    parts["data"] += rest
    return parts


def ring_half(size, nbytes, alpha, beta):
    """Seconds of a ReduceScatter or AllGather of ``nbytes`` over a ring: half an AllReduce."""
    return (size - 1) * (alpha + nbytes / size * beta)


def layouts(model, cluster, batch):
    """Every Layout that fits the numbers; whether it fits into memory, ``predict`` says."""
    counts = divisors(cluster.devices)
    for tensor, pipeline in itertools.product(counts, counts):
        if cluster.devices % (tensor * pipeline):
            continue
        data = cluster.devices // (tensor * pipeline)
        if misfit(model, cluster, Layout(data, tensor, pipeline, 0, 1), batch):
            continue
        for zero, micro_batches in itertools.product(range(4), divisors(batch // data)):
            if zero == 0 or data > 1:
                yield Layout(data, tensor, pipeline, zero, micro_batches)


def best(model, cluster, batch):
    """The Prediction with the fewest seconds of those that fit into memory; of equals the smallest.

    Raises ValueError where none fits."""
    found = (predict(model, cluster, each, batch) for each in layouts(model, cluster, batch))
    fitting = [each for each in found if each.memory <= cluster.room]
    if not fitting:
        raise ValueError(f"best: no layout of {model} fits into {cluster.room:,} bytes a device")
    return min(fitting, key=lambda each: (each.seconds, each.memory))


def divisors(n):
    """All numbers that divide n, in order."""
    small = [d for d in range(1, int(n**0.5) + 1) if n % d == 0]
    return sorted({*small, *(n // d for d in small)})
