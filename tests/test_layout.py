"""What a layout is predicted to take: against formulas written out, and against simulated ranks."""

from types import SimpleNamespace

import numpy as np
import pytest

from minigrad import distributed as dist
from minigrad.distributed.layout import (
    Cluster,
    Layout,
    Model,
    best,
    divisors,
    layouts,
    misfit,
    predict,
    ring_half,
)
from minigrad.perf import A100, H100

GPT3 = Model(96, 12288, 96, 2048, 50257)
SMALL = Model(layers=8, width=32, heads=4, length=16, vocabulary=96)
#: a device so slow that small messages and small products both count
SLOW = SimpleNamespace(float16=8e10, memory=1 << 40)
WIRES = dist.Nodes(4, 2e-6, 4e9, 9e-6, 1e9, cards=4)


def test_parameters_of_gpt3_are_the_published_ones():
    assert GPT3.parameters == pytest.approx(174.6e9, rel=1e-3)  # Brown et al. 2020, table 2.1


def test_a_single_device_does_all_the_work_and_holds_all_states():
    cluster = Cluster(1, H100, utilisation=0.4)
    found = predict(SMALL, cluster, Layout(1, 1, 1, 0, 2), batch=6)
    psi = 12 * 8 * 32 * 32 + 96 * 32
    flops = 6 * 16 * (6 * psi + 12 * 8 * 16 * 32)  # 6 texts of 16 tokens
    assert found.seconds == pytest.approx(flops / (989e12 * 0.4), rel=1e-12)
    assert found.held["parameters"] + found.held["gradients"] == 4 * psi
    assert found.held["optimizer"] == 12 * psi
    # 3 texts at a time in 8 layers: s·b·h(34 + 5as/h)
    assert found.held["activations"] == 8 * (16 * 3 * 32 * 34 + 5 * 4 * 16 * 16 * 3)


@pytest.mark.parametrize(("zero", "states"), [(0, 16), (1, 4 + 12 / 4), (2, 2 + 14 / 4), (3, 4)])
def test_states_follow_the_zero_table(zero, states):
    cluster = Cluster(4, H100)
    held = predict(SMALL, cluster, Layout(4, 1, 1, zero, 1), batch=4).held
    psi = SMALL.parameters
    assert held["parameters"] + held["gradients"] + held["optimizer"] == states * psi
    assert held["gathered layers"] == (2 * 2 * 12 * 32 * 32 if zero == 3 else 0)


def test_tensor_and_pipeline_cut_states_and_activations():
    cluster = Cluster(8, H100)
    held = predict(SMALL, cluster, Layout(1, 4, 2, 0, 8), batch=8).held
    assert held["parameters"] == 2 * (12 * 32 * 32 * 4 + 96 * 32) / 4
    one = (16 * 32 * 34 + 5 * 4 * 16 * 16) / 4  # a text in a layer, all of it over 4 ranks
    assert held["activations"] == one * 4 * 2  # 4 layers, min(S, M) = 2 micro-batches
    held = predict(SMALL, cluster, Layout(1, 4, 2, 0, 1), batch=8).held
    assert held["activations"] == one * 8 * 4 * 1


@pytest.mark.parametrize("micro_batches", [1, 2, 8])
def test_the_bubble_is_its_share_of_all_slots(micro_batches):
    cluster = Cluster(8, H100)
    found = predict(SMALL, cluster, Layout(2, 1, 4, 0, micro_batches), batch=16)
    slots = found.seconds - found.parts["data"]
    assert found.parts["bubble"] / slots == pytest.approx(3 / (micro_batches + 3), rel=1e-12)


def test_replicas_exchange_as_each_zero_stage_does():
    cluster = Cluster(4, H100, dist.Nodes(per_node=4, alpha=1e-6, bandwidth=1e9))
    seconds = {}
    for zero in range(4):
        found = predict(SMALL, cluster, Layout(4, 1, 1, zero, 2), batch=8)
        seconds[zero] = found.parts["data"]
    half = 3 * 1e-6 + 3 / 4 * 2 * SMALL.parameters / 1e9
    assert seconds[0] == seconds[1] == pytest.approx(2 * half, rel=1e-12)
    assert seconds[2] == pytest.approx(3 * half, rel=1e-12)  # two scatters, one gather
    layered = 2 * 3 * (8 * 3 * 1e-6 + 3 / 4 * 2 * SMALL.parameters / 1e9)
    assert seconds[3] == pytest.approx(layered, rel=1e-12)


@pytest.mark.parametrize(("data", "near"), [(1, True), (2, True), (4, False)])
def test_stages_far_apart_speak_over_the_network(data, near):
    wires = dist.Nodes(4, alpha=1.0, bandwidth=16.0, network_alpha=100.0, network_bandwidth=8.0)
    layout = Layout(data, 1, 2, 0, 3)
    parts = predict(SMALL, Cluster(2 * data, H100, wires), layout, batch=12).parts
    nbytes = 2 * 16 * 32 * 12 / data / 3  # of a micro-batch's activations
    message = 1 + nbytes / 16 if near else 100 + nbytes / 8
    assert parts["pipeline"] == pytest.approx(3 * 2 * message, rel=1e-12)


def step(comm, model, cluster, layout, batch):
    """A step in which every message is sent and every product waited for, and nothing computed."""
    data, tensor, pipeline, zero, micro_batches = layout
    stage, within = divmod(comm.rank, data * tensor)
    shares = comm.split((stage, within // tensor), comm.rank)
    replicas = comm.split((stage, within % tensor), comm.rank)
    layers, texts = model.layers // pipeline, batch // (data * micro_batches)
    tokens = texts * model.length
    own = (12 * model.width**2 * layers + model.vocabulary * model.width) // tensor
    flops = tokens * (6 * own + 12 * layers * model.length * model.width / tensor)
    x = np.zeros(tokens * model.width, np.float16)
    piece = x[: x.size // tensor]
    chunk = np.zeros(own // layers, np.float16)

    def work(share, passes, source, dest):
        if 0 <= source < comm.size:
            comm.recv(piece, source)
        for _ in range(layers):
            if zero == 3:
                replicas.all_gather(chunk[: chunk.size // data], algorithm="ring")
            comm.compute(share * flops / cluster.flops / layers)
            for _ in range(2):
                shares.all_reduce(x, algorithm="ring")
            if zero == 3 and passes == "backward":
                replicas.reduce_scatter(chunk, algorithm="ring")
        if 0 <= dest < comm.size:
            comm.isend(piece, dest)

    far = data * tensor
    forward = lambda: work(1 / 3, "forward", comm.rank - far, comm.rank + far)
    backward = lambda: work(2 / 3, "backward", comm.rank + far, comm.rank - far)
    ahead = min(pipeline - 1 - stage, micro_batches)
    whole = np.zeros(own, np.float16)
    for number in range(micro_batches + ahead):
        if number < micro_batches:
            forward()
        if number >= ahead:
            backward()
            if zero == 2:
                replicas.reduce_scatter(whole, algorithm="ring")
    if zero in (0, 1):
        replicas.all_reduce(whole, algorithm="ring")
    if zero == 2:
        replicas.all_gather(whole[: own // data], algorithm="ring")


@pytest.mark.parametrize(
    ("layout", "near"),
    [
        (Layout(1, 4, 1, 0, 2), 0.001),
        (Layout(4, 1, 1, 0, 2), 0.001),
        (Layout(2, 4, 1, 1, 2), 0.001),
        (Layout(8, 1, 1, 2, 2), 0.001),
        (Layout(4, 2, 1, 3, 2), 0.001),
        (Layout(1, 1, 4, 0, 8), 0.05),
        (Layout(2, 2, 2, 0, 4), 0.05),
        (Layout(2, 1, 4, 1, 4), 0.05),
    ],
)
def test_simulated_ranks_take_as_long_as_predicted(layout, near):
    size = layout.data * layout.tensor * layout.pipeline
    cluster = Cluster(size, SLOW, WIRES)
    arguments = SMALL, cluster, layout, 16
    found = predict(*arguments)
    run = dist.run(step, size, args=arguments, topology=WIRES, trace=False)
    assert run.seconds == pytest.approx(found.seconds, rel=near)
    assert found.parts["work"] < 0.95 * found.seconds  # messages count


def test_the_best_layout_is_found_among_all_and_fits():
    cluster = Cluster(64, A100, dist.Nodes(network_bandwidth=3e9))
    found = best(Model(40, 5120, 40, 2048, 51200), cluster, batch=512)
    assert found.memory <= cluster.room
    every = list(layouts(Model(40, 5120, 40, 2048, 51200), cluster, 512))
    assert len(set(every)) == len(every) > 300
    assert found.layout in every
    assert found.layout.tensor <= 8 and found.layout.pipeline > 1  # the network is slow
    fast = best(Model(40, 5120, 40, 2048, 51200), Cluster(64, A100), batch=512)
    assert fast.layout.pipeline == 1 and fast.layout.zero > 0
    assert fast.seconds < found.seconds


def test_layouts_are_those_that_divide():
    model = Model(6, 8, 4, 4, 12)
    found = set(layouts(model, Cluster(4, H100), 6))
    shapes = {each[:3] for each in found}
    # 4 stages do not divide 6 layers, 4 replicas do not divide 6 texts
    assert shapes == {(1, 4, 1), (1, 2, 2), (2, 2, 1), (2, 1, 2)}
    assert {each.micro_batches for each in found if each.data == 2} == {1, 3}
    assert {each.zero for each in found if each.data == 1} == {0}
    assert divisors(36) == [1, 2, 3, 4, 6, 9, 12, 18, 36]


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (Layout(2, 2, 2, 0, 1), "2 × 2 × 2 is not 4 devices"),
        (Layout(1, 1, 4, 0, 1), "6 layers do not divide into 4 stages"),
        (Layout(4, 1, 1, 0, 1), "6 texts do not divide into 4 replicas"),
        (Layout(1, 4, 1, 0, 4), "6 texts do not divide into 4"),
        (Layout(1, 2, 2, 4, 1), "from 0 to 3"),
        (Layout(1, 2, 2, 0, 0), "positive"),
    ],
)
def test_a_layout_that_does_not_fit_is_refused(layout, words):
    model, cluster = Model(6, 8, 4, 4, 12), Cluster(4, H100)
    assert words in misfit(model, cluster, layout, 6)
    with pytest.raises(ValueError, match=words):
        predict(model, cluster, layout, 6)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (Model(6, 8, 8, 16, 50257), "50257 words do not divide into 8 tensor shares"),
        (Model(6, 8, 8, 1023, 64), "1023 tokens of a text do not divide into 8 tensor shares"),
    ],
)
def test_words_and_tokens_are_divided_among_tensor_shares_too(model, words):
    cluster = Cluster(8, H100)
    assert misfit(model, cluster, Layout(1, 8, 1, 0, 1), 8) == words
    assert {each.tensor for each in layouts(model, cluster, 8)} == {1}


def test_no_room_is_an_error():
    with pytest.raises(ValueError, match="no layout of"):
        best(GPT3, Cluster(8, A100), 64)


def test_a_ring_that_leaves_the_node_has_the_network_s_links():
    cluster = Cluster(16, H100, dist.Nodes(8, 1.0, 2.0, 3.0, 4.0, cards=2))
    assert cluster.link(8) == (1.0, 0.5)
    assert cluster.link(16) == (3.0, 4 / 4.0)  # four ranks share a card
    assert ring_half(4, 100.0, 1.0, 0.5) == 3 * (1.0 + 12.5)
