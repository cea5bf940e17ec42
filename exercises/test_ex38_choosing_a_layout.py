"""Tests of exercise 38: the layout of a training run."""

import itertools
from types import SimpleNamespace

import numpy as np

from minigrad.course.testing import expect, fail
from minigrad.distributed import Nodes
from minigrad.distributed import layout as planning

GB = 1 << 30
TINY = {"layers": 6, "width": 8, "heads": 4, "length": 16, "vocabulary": 40}
CLUSTER = {
    "devices": 12,
    "per_node": 4,
    "flops": 1e10,
    "memory": 1 << 20,
    "alpha": 2e-6,
    "bandwidth": 4e9,
    "network_alpha": 9e-6,
    "network_bandwidth": 1e9,
}


def model_of(model):
    """The same model for the library."""
    return planning.Model(*(model[key] for key in TINY))


def cluster_of(cluster):
    """The same cluster for the library."""
    links = ("alpha", "bandwidth", "network_alpha", "network_bandwidth")
    per_node = cluster["per_node"]
    wires = Nodes(per_node, *(cluster[key] for key in links), cards=per_node)
    device = SimpleNamespace(float16=cluster["flops"], memory=cluster["memory"])
    return planning.Cluster(cluster["devices"], device, wires, utilisation=1.0)


def predicted(model, cluster, layout, batch):
    """What the library predicts for a layout."""
    cluster = cluster | {"devices": layout[0] * layout[1] * layout[2]}
    return planning.predict(model_of(model), cluster_of(cluster), planning.Layout(*layout), batch)


def drawn(rng):
    """A (model, cluster) of odd sizes; layers divide by 2 and by 3, what T cuts by 4 and by 3."""
    model = {
        "layers": 6 * int(rng.integers(1, 4)),
        "width": 12 * int(rng.integers(1, 9)),
        "heads": 12,
        "length": 12 * int(rng.integers(2, 5)),
        "vocabulary": 12 * int(rng.integers(5, 25)),
    }
    cluster = CLUSTER | {
        "flops": float(rng.uniform(1e9, 1e11)),
        "alpha": float(rng.uniform(1e-6, 1e-5)),
        "bandwidth": float(rng.uniform(1e9, 1e10)),
        "network_alpha": float(rng.uniform(1e-5, 1e-4)),
        "network_bandwidth": float(rng.uniform(1e8, 1e9)),
    }
    return model, cluster


#: for models of `drawn` and 24 texts; in nodes of 4 devices
SOME = [
    (1, 1, 1, 0, 3),
    (1, 2, 1, 0, 3),
    (2, 2, 1, 0, 3),
    (2, 1, 3, 1, 4),
    (4, 1, 1, 2, 3),
    (2, 3, 2, 2, 6),
    (4, 2, 1, 3, 3),
    (2, 2, 3, 3, 1),
    (1, 4, 2, 0, 8),
    (1, 2, 6, 0, 2),
]


def all_layouts(model, devices, batch, careless=None):
    """All layouts, tried one by one; ``careless`` is what is not looked at."""
    found = []
    for data, tensor, pipeline in itertools.product(range(1, devices + 1), repeat=3):
        if data * tensor * pipeline != devices:
            continue
        misfits = {
            "heads": model["heads"] % tensor,
            "words": model["vocabulary"] % tensor,
            "tokens": model["length"] % tensor,
            "layers": model["layers"] % pipeline,
            "batch": batch % data,
        }
        if any(left for what, left in misfits.items() if what != careless):
            continue
        most = batch if careless != "micro-batches" else data
        for zero, count in itertools.product(range(4), range(1, most + 1)):
            alone = data == 1 and zero and careless != "alone"
            if not alone and (careless == "batch" or batch % (data * count) == 0):
                found.append((data, tensor, pipeline, zero, count))
    return sorted(found)


def wrong_layouts(model, devices, batch):
    careless = {
        "T need not divide the heads in it": "heads",
        "T need not divide the words in it": "words",
        "T need not divide the tokens of a text in it": "tokens",
        "S need not divide the layers in it": "layers",
        "a single replica has nobody to share with: Z is 0": "alone",
    }
    made = lambda what: lambda: all_layouts(model, devices, batch, what)
    mistakes = {words: made(what) for words, what in careless.items()}
    return mistakes | {
        "M divides the batch of a replica, batch / R, not the whole batch": lambda: sorted(
            (*each[:4], count)
            for each in {(*each[:4], 1) for each in all_layouts(model, devices, batch)}
            for count in range(1, batch + 1)
            if batch % count == 0
        )
    }


def test_layouts_of_two_devices_by_hand(answer):
    model = TINY | {"layers": 3, "heads": 2}
    want = [(1, 2, 1, 0, 1), (1, 2, 1, 0, 2), (1, 2, 1, 0, 4)]
    want += [(2, 1, 1, zero, count) for zero in range(4) for count in (1, 2)]
    expect(answer.layouts(model, 2, 4), want, wrong_layouts(model, 2, 4))


def test_layouts_of_any_number_of_devices(answer):
    for changes, devices, batch in (
        ({}, 1, 5),
        ({}, 6, 8),
        ({}, 8, 6),
        ({"vocabulary": 42}, 4, 6),
        ({"length": 18}, 12, 9),
    ):
        case = TINY | changes, devices, batch
        expect(answer.layouts(*case), all_layouts(*case), wrong_layouts(*case))


def in_the_words_of_the_exercise(held):
    names = ("parameters", "gradients", "optimizer", "gathered layers", "activations")
    return {name.partition(" ")[0]: float(held[name]) for name in names}


def wrong_memory(model, layout, batch):
    """{words: a wrong answer}."""
    data, tensor, pipeline, zero, count = layout
    right = in_the_words_of_the_exercise(predicted(model, CLUSTER, layout, batch).held)
    with_ = lambda what, factor: right | {what: right[what] * factor}
    held = min(pipeline, count)
    mistakes = {
        "1F1B holds min(S, M) micro-batches, not all M": with_("activations", count / held),
        "there may be fewer than S micro-batches: min(S, M)": with_("activations", pipeline / held),
        "a micro-batch has batch/(R·M) texts: R is missing": with_("activations", data),
        "a micro-batch has batch/(R·M) texts: R and M are missing": with_(
            "activations", data * count
        ),
        "a stage has l/S layers, not l": with_("activations", pipeline),
        "the optimizer has 12 bytes a parameter: the weights in 4 bytes, m and v": with_(
            "optimizer", 8 / 12
        ),
        "activations of a micro-batch are counted, and S of them are held": with_(
            "activations", 1 / held
        ),
        "a micro-batch has batch/(R·M) texts: M is missing": with_("activations", count),
        "activations are shared out over the T devices, too": with_("activations", tensor),
        "gathered layers are shared out over the T devices, too": with_("gathered", tensor),
        "two layers are gathered at any time, not one": with_("gathered", 0.5),
        "stage 1 shares out the optimizer's bytes, too": with_("optimizer", data),
        "stage 2 shares out gradients, too": with_("gradients", data),
    }
    if zero == 1:
        mistakes["stage 1 leaves gradients whole"] = with_("gradients", 1 / data)
    if zero < 3:
        mistakes["only stage 3 shares out parameters"] = with_("parameters", 1 / data)
    return {words: wrong for words, wrong in mistakes.items() if wrong != right}


def test_memory_of_each_zero_stage_by_hand(answer):
    model = {"layers": 2, "width": 4, "heads": 2, "length": 3, "vocabulary": 10}
    psi = 12 * 1 * 16 + 40.0  # one layer a stage
    kept = 12 * (34 + 5 * 2 * 3 / 4)  # of a text in a layer
    want = {"parameters": 2 * psi, "gradients": 2 * psi, "optimizer": 12 * psi, "gathered": 0.0}
    want["activations"] = kept * 2 * 2  # micro-batches of 2 texts, 2 of them under way
    layout = (3, 1, 2, 0, 5)
    expect(answer.memory(model, layout, 30), want, wrong_memory(model, layout, 30))
    psi = 12 * 2 * 16 + 40.0
    kept = kept * 2 * 3  # 2 layers, 3 texts
    for zero, cuts, gathered in (
        (0, (1, 1, 1), 0.0),
        (1, (1, 1, 2), 0.0),
        (2, (1, 2, 2), 0.0),
        (3, (2, 2, 2), 2 * 2 * 12 * 16.0),
    ):
        want = {
            "parameters": 2 * psi / cuts[0],
            "gradients": 2 * psi / cuts[1],
            "optimizer": 12 * psi / cuts[2],
            "gathered": gathered,
            "activations": kept,
        }
        layout = (2, 1, 1, zero, 1)
        expect(answer.memory(model, layout, 6), want, wrong_memory(model, layout, 6))


def test_memory_of_any_layout(answer, rng):
    model, _ = drawn(rng)
    for layout in SOME:
        want = in_the_words_of_the_exercise(predicted(model, CLUSTER, layout, 24).held)
        expect(answer.memory(model, layout, 24), want, wrong_memory(model, layout, 24))


def half_by_messages(size, nbytes, alpha, bandwidth):
    """Each of P − 1 messages after the other."""
    return float(sum(alpha + nbytes / size / bandwidth for _ in range(size - 1)))


def wrong_half(size, nbytes, row, cluster):
    links = [
        (cluster["alpha"], cluster["bandwidth"]),
        (cluster["network_alpha"], cluster["network_bandwidth"]),
    ]
    right = row > cluster["per_node"]
    alpha, bandwidth = links[right]
    return {
        "a group of as many in a row as a node has is in a node, a larger one is not": (
            half_by_messages(size, nbytes, *links[not right])
        ),
        "a step sends 1/size of the bytes": (size - 1) * (alpha + nbytes / bandwidth),
        "there are size − 1 steps": size * (alpha + nbytes / size / bandwidth),
        "that is the whole AllReduce: a half has size − 1 steps": 2
        * half_by_messages(size, nbytes, alpha, bandwidth),
        "every step has its latency": alpha + (size - 1) * nbytes / size / bandwidth,
    }


def test_half_a_ring_by_hand(answer):
    cluster = CLUSTER | {"alpha": 1.0, "bandwidth": 10.0}
    cluster |= {"network_alpha": 2.0, "network_bandwidth": 4.0}
    for case, want in (((4, 80.0, 4), 9.0), ((4, 80.0, 8), 21.0), ((2, 80.0, 5), 12.0)):
        expect(answer.ring_half(*case, cluster), want, wrong_half(*case, cluster))


def test_half_a_ring_of_any_group(answer, rng):
    _, cluster = drawn(rng)
    for size, row in ((1, 1), (3, 3), (2, 4), (5, 5), (4, 16), (1, 12)):
        nbytes = float(rng.integers(100, 10**6))
        want = half_by_messages(size, nbytes, *link(cluster, row))
        mistakes = wrong_half(size, nbytes, row, cluster) if size > 1 else {}
        expect(answer.ring_half(size, nbytes, row, cluster), want, mistakes)


def link(cluster, row):
    """(alpha, bandwidth) among so many devices in a row."""
    prefix = "network_" if row > cluster["per_node"] else ""
    return cluster[f"{prefix}alpha"], cluster[f"{prefix}bandwidth"]


def parts_of_a_slot(model, cluster, layout, batch):
    """Of the library's prediction, what one slot takes of each."""
    data, tensor, pipeline, zero, count = layout
    parts = dict(predicted(model, cluster, layout, batch).parts)
    own = planning.Model(*(model[key] for key in TINY))
    stage = (12 * own.layers // pipeline * own.width**2 + own.vocabulary * own.width) / tensor
    half = half_by_messages(data, 2 * stage, *link(cluster, tensor * data))
    rest = {0: 2, 1: 2, 2: 1, 3: 0}[zero] * half
    parts["data"] -= rest
    del parts["bubble"]
    slot = {what: seconds / count for what, seconds in parts.items()}
    if zero < 2:
        slot["data"] = 0.0  # rounding
    return slot, rest


def wrong_slot(model, cluster, layout, batch):
    data, tensor, pipeline, zero, count = layout
    right, _ = parts_of_a_slot(model, cluster, layout, batch)
    with_ = lambda what, factor: right | {what: right[what] * factor}
    mistakes = {
        "half of it is missing: 4 AllReduces × 2 halves × l/S layers": with_("tensor", 0.5),
        "l/S is missing: 4 AllReduces × 2 halves × l/S layers": with_(
            "tensor", pipeline / model["layers"]
        ),
        "a message goes to the next stage, and another comes back": with_("pipeline", 0.5),
        "forward and backward take 6 FLOPs a parameter and token, forward alone takes 2": None,
        "a slot is one micro-batch, not all of them": {k: v * count for k, v in right.items()},
    }
    texts, L, D = batch // (data * count), model["length"], model["width"]
    layers = model["layers"] // pipeline
    attention = 12 * L * D / tensor * layers * texts * L / cluster["flops"]
    mistakes["attention has FLOPs of its own, 12·L·D/T a token and layer"] = right | {
        "work": right["work"] - attention
    }
    forward = (right["work"] - attention) / 3 + attention
    words = "forward and backward take 6 FLOPs a parameter and token, forward alone takes 2"
    mistakes[words] = right | {"work": forward}
    if zero == 3:
        mistakes["at stage 3 a layer is gathered forward and again backward"] = with_("data", 2 / 3)
        mistakes["at stage 3 every layer of the stage is exchanged"] = with_("data", 1 / layers)
        blocks = half_by_messages(data, 2 * 12 * D**2 / tensor, *link(cluster, tensor * data))
        mistakes["at stage 3 a layer has 1/(l/S) of the bytes, and so of the embedding"] = right | {
            "data": 3 * layers * blocks
        }
    if pipeline > 1:
        alpha, bandwidth = link(cluster, tensor * data)
        near = 2 * (alpha + 2 * texts * L * D / tensor / bandwidth)
        mistakes["two stages that follow each other lie in 2·T·R devices in a row, not in T·R"] = (
            right | {"pipeline": near}
        )
    return {words: wrong for words, wrong in mistakes.items() if wrong != right}


def test_a_slot_of_a_device_that_is_alone(answer):
    model = {"layers": 2, "width": 4, "heads": 2, "length": 3, "vocabulary": 10}
    cluster = CLUSTER | {"flops": 1000.0}
    flops = 2 * 3 * (6 * (12 * 2 * 16 + 40) + 12 * 3 * 4 * 2)  # 2 texts of 3 tokens
    want = {"work": flops / 1000, "tensor": 0.0, "pipeline": 0.0, "data": 0.0}
    layout = (1, 1, 1, 0, 3)
    expect(answer.slot(model, cluster, layout, 6), want, wrong_slot(model, cluster, layout, 6))


def test_messages_in_a_slot_by_hand(answer):
    model = {"layers": 6, "width": 6, "heads": 2, "length": 8, "vocabulary": 10}
    links = {"alpha": 1.0, "bandwidth": 10.0, "network_alpha": 100.0, "network_bandwidth": 5.0}
    cluster = CLUSTER | links | {"flops": 1000.0}
    array = 2 * 24 * 6  # a micro-batch of 3 texts of 8 tokens, 2 bytes a number
    own = 2 * (12 * 3 * 36 + 60) / 2  # bytes: 3 layers and the embedding, on 2 devices
    for zero, data in ((0, 0.0), (2, 1 + own / 20), (3, 9 * (1 + own / 60))):
        want = {
            "work": 3 * 8 * (3 * own + 12 * 8 * 6 / 2 * 3) / 1000,
            "tensor": 4 * 2 * 3 * (1 + array / 20),
            "pipeline": 2 * (100 + array / 2 / 5),
            "data": data,
        }
        layout = (2, 2, 2, zero, 4)
        mistakes = wrong_slot(model, cluster, layout, 24)
        expect(answer.slot(model, cluster, layout, 24), want, mistakes)


def test_a_slot_of_any_layout(answer, rng):
    model, cluster = drawn(rng)
    for layout in SOME:
        want, _ = parts_of_a_slot(model, cluster, layout, 24)
        mistakes = wrong_slot(model, cluster, layout, 24)
        expect(answer.slot(model, cluster, layout, 24), want, mistakes, tolerance=1e-9)


def wrong_steps(model, cluster, layout, batch):
    slot, rest = parts_of_a_slot(model, cluster, layout, batch)
    count, pipeline, slots = layout[4], layout[2], sum(slot.values())
    return {
        "the last stage begins S − 1 slots later: M + S − 1 slots": count * slots + rest,
        "there are M + S − 1 slots, not M + S": (count + pipeline) * slots + rest,
        "replicas still have to exchange what they do not in slots": (count + pipeline - 1) * slots,
        "what replicas exchange after the slots is exchanged once, not in every slot": (
            count + pipeline - 1
        )
        * (slots + rest),
        "at stage 0 and 1 there are two halves of a ring after the slots": (
            (count + pipeline - 1) * slots + rest / 2
        ),
    }


def test_a_step_of_each_zero_stage(answer):
    for zero in range(4):
        case = TINY, CLUSTER, (4, 1, 3, zero, 2), 24
        slot, rest = parts_of_a_slot(*case)
        expect(answer.step_seconds(*case), 4 * sum(slot.values()) + rest, wrong_steps(*case))


def test_a_step_of_any_layout(answer, rng):
    model, cluster = drawn(rng)
    for layout in SOME:
        want = predicted(model, cluster, layout, 24).seconds
        mistakes = wrong_steps(model, cluster, layout, 24)
        expect(answer.step_seconds(model, cluster, layout, 24), want, mistakes, tolerance=1e-9)


#: (model, cluster, batch): a GPT of 1.3, 6.7, 13 and 175 billion parameters
NVLINK = {"per_node": 8, "alpha": 5e-6, "bandwidth": 300e9}
A100S = NVLINK | {"flops": 150e12, "memory": 80 * GB}
FAST = A100S | {"network_alpha": 2e-5, "network_bandwidth": 50e9}
SLOW = A100S | {"network_alpha": 5e-5, "network_bandwidth": 2e9}
GPT = {"length": 2048, "vocabulary": 51200}
B1 = GPT | {"layers": 24, "width": 2048, "heads": 16}
B7 = GPT | {"layers": 32, "width": 4096, "heads": 32}
B13 = GPT | {"layers": 40, "width": 5120, "heads": 40}
B175 = GPT | {"layers": 96, "width": 12288, "heads": 96}
B6 = GPT | {"layers": 31, "width": 4096, "heads": 1}
B4 = GPT | {"layers": 37, "width": 3072, "heads": 3, "length": 1024}
SHORT = B1 | {"length": 256}
WIDE = FAST | {"network_bandwidth": 100e9}
LATE = FAST | {"alpha": 1e-3, "network_alpha": 5e-3}
SMALL = [(B1, FAST | {"devices": 8}, 64), (B7, FAST | {"devices": 8, "memory": 40 * GB}, 64)]
#: what fits needs ZeRO 3; needs ZeRO 2 or 3; in the last one many micro-batches cost much latency
KNOBS = [
    (B6, FAST | {"devices": 8, "memory": 30 * GB}, 32),
    (B4, WIDE | {"devices": 16, "memory": 20 * GB}, 64),
    (SHORT, LATE | {"devices": 16}, 256),
]
LARGE = [(B13, SLOW | {"devices": 64}, 256), (B175, FAST | {"devices": 128}, 512)]
ODD = [
    (B1, SLOW | {"devices": 24, "memory": 16 * GB}, 192),
    (B7, SLOW | {"devices": 32, "per_node": 2, "memory": 24 * GB}, 64),
]


def chosen(answer, case):
    """(the prediction for what was chosen, the best that there is), both checked to fit."""
    model, cluster, batch = case
    got = answer.choose(*case)
    whole = type(got) is tuple and len(got) == 5
    if not whole or not all(type(n) is int or isinstance(n, np.integer) for n in got):
        fail(f"A layout is a tuple of five ints; got {got!r:.200}.")
    layout = planning.Layout(*map(int, got))
    setting = model_of(model), cluster_of(cluster)
    if why := planning.misfit(*setting, layout, batch):
        fail(f"{tuple(layout)} is no layout for it: {why}.")
    found = planning.predict(*setting, layout, batch)
    if found.memory > cluster["memory"]:
        held = ", ".join(f"{what} {size / GB:.1f} GB" for what, size in found.held.items() if size)
        fail(
            f"{tuple(layout)} needs {found.memory / GB:.1f} GB on a device, and a device has "
            f"{cluster['memory'] / GB:.0f} GB (of 2³⁰ bytes).\n\nLikely mistake: the memory is not "
            f"looked at, or not all that has to find room in it: {held}."
        )
    return found, planning.best(*setting, batch)


def why_slower(found, case):
    """Which layouts have not been compared, if the one that was found is the best of the others."""
    model, cluster, batch = case
    setting = model_of(model), cluster_of(cluster)
    every = [planning.predict(*setting, one, batch) for one in planning.layouts(*setting, batch)]
    fitting = [one for one in every if one.memory <= cluster["memory"]]
    most = lambda one: one.micro_batches == batch // one.data
    for words, kept in (
        ("ZeRO stages above 1 are not tried", lambda one: one.zero <= 1),
        ("ZeRO stages above 2 are not tried", lambda one: one.zero <= 2),
        ("only the largest M is tried", most),
        ("only M = 1 is tried", lambda one: one.micro_batches == 1),
    ):
        seconds = [one.seconds for one in fitting if kept(one.layout)]
        if kept(found.layout) and seconds and found.seconds <= min(seconds) * (1 + 1e-9):
            return words
    return "the layout is not compared with all others that fit by the seconds of a step"


def near(answer, cases, percent):
    """Check that choices are slower than the best by no more than some per cent."""
    for case in cases:
        found, best = chosen(answer, case)
        more = 100 * (found.seconds / best.seconds - 1)
        if more > percent:
            largest = max(found.parts, key=lambda part: found.parts[part] - best.parts[part])
            fail(
                f"{tuple(found.layout)} takes {found.seconds:.3g} s a step. There is a layout that "
                f"fits and takes {best.seconds:.3g} s: this one is {more:.0f} % slower, and "
                f"{percent} % would pass. What it loses most by is: {largest}.\n\nLikely mistake: "
                f"{why_slower(found, case)}."
            )


def test_the_layout_fits_and_is_not_bad(answer):
    near(answer, SMALL, 25)


def test_the_layout_is_the_best_for_small_clusters(answer):
    near(answer, SMALL + KNOBS, 2)


def test_the_layout_is_the_best_for_large_models(answer):
    near(answer, LARGE, 2)


def test_the_layout_is_the_best_for_slow_networks_and_little_memory(answer):
    near(answer, ODD, 2)
