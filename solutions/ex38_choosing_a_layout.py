"""Exercise 38: a model, a cluster, a memory. Which layout trains fastest?

Notebook: 38_choosing_a_layout.ipynb, and what 22 to 27 have taught.

The exercise at the end of the part about many devices. You write down what a layout costs, in
memory and in seconds, and let your formulas choose. It is graded by the library's own prediction
(`minigrad.distributed.layout`), which simulated ranks have been held against.

A model is a GPT, a dict of ints: "layers" l, "width" D, "heads", "length" L (tokens of a text),
"vocabulary" V. Its parameters are 12·l·D² in the layers and V·D in the embedding, which is also the
head; all else is left out.

A cluster is a dict: "devices", an int; "flops" that a device reaches, a float; "memory" of a device
in bytes; "per_node", how many devices a node has, whose messages take "alpha" + bytes / "bandwidth"
seconds; "network_alpha" and "network_bandwidth", the same for messages that leave a node.

A layout is a tuple of five ints (data, tensor, pipeline, zero, micro_batches), for short (R, T, S,
Z, M): R replicas, each of S stages, each on T devices; the ZeRO stage Z, 0 to 3; and M, into how
many micro-batches a replica cuts its share of the batch. Devices are numbered so that the T devices
of a stage are neighbours, then come the replicas, then the stages. So a group of T devices lies in
T devices in a row, a group of replicas in T·R, two stages that follow each other in 2·T·R; and what
lies in no more than "per_node" in a row is in a node.
"""


def layouts(model, devices, batch):
    """List all layouts that fit the numbers.

    R·T·S is the number of devices. T divides the heads, the words of the vocabulary, and the tokens
    of a text (sequence parallelism shares them out); S divides the layers, and R·M divides the
    batch. Z is 0, 1, 2 or 3; where R is 1 there is nobody to share with, and Z is 0.

    Arguments:
        model: a dict, as above.
        devices, batch: ints; the batch counts texts.
    Returns: a sorted list of layouts, each a tuple of five ints.

    >>> tiny = {"layers": 3, "width": 8, "heads": 2, "length": 4, "vocabulary": 6}
    >>> layouts(tiny, 2, 3)
    [(1, 2, 1, 0, 1), (1, 2, 1, 0, 3)]
    """
    ### BEGIN SOLUTION
    found = []
    for tensor in divisors(devices):
        for pipeline in divisors(devices // tensor):
            data = devices // tensor // pipeline
            shared = model["heads"], model["vocabulary"], model["length"]
            if any(many % tensor for many in shared):
                continue
            if model["layers"] % pipeline or batch % data:
                continue
            for zero in range(4 if data > 1 else 1):
                for micro_batches in divisors(batch // data):
                    found.append((data, tensor, pipeline, zero, micro_batches))
    return sorted(found)
    ### END SOLUTION


def divisors(n):
    """All numbers that divide n; it may be of use."""
    return [d for d in range(1, n + 1) if n % d == 0]


def parameters_of(model, layout):
    """How many parameters the fullest stage has on each of its devices: l/S layers, the embedding.

    >>> model = {"layers": 6, "width": 10, "heads": 2, "length": 4, "vocabulary": 8}
    >>> parameters_of(model, (1, 2, 3, 0, 1))
    1240.0
    """
    _, tensor, pipeline, _, _ = layout
    layers = model["layers"] // pipeline
    return (12 * layers * model["width"] ** 2 + model["vocabulary"] * model["width"]) / tensor


def memory(model, layout, batch):
    """Say what a device of the first stage holds, in bytes.

    Of each parameter (`parameters_of` counts them): 2 bytes itself, 2 of its gradient, 12 of the
    optimizer. ZeRO shares out among the R replicas: from stage 1 on the optimizer's bytes, from
    stage 2 on also gradients, at stage 3 also parameters. At stage 3 two layers are gathered at any
    time, of 12·D²/T parameters each, 2 bytes a parameter.

    Activations: a layer keeps L·D·(34 + 5·heads·L/D)/T bytes of a text for the backward pass
    (tensor parallelism comes with sequence parallelism). A micro-batch has batch/(R·M) texts. The
    pipeline runs 1F1B, so the first stage holds min(S, M) micro-batches.

    Returns: {"parameters", "gradients", "optimizer", "gathered", "activations": bytes}, floats.
    """
    ### BEGIN SOLUTION
    data, tensor, pipeline, zero, micro_batches = layout
    L, D = model["length"], model["width"]
    own, texts = parameters_of(model, layout), batch // (data * micro_batches)
    kept = L * D * (34 + 5 * model["heads"] * L / D) / tensor
    layers = model["layers"] // pipeline
    return {
        "parameters": 2 * own / (data if zero == 3 else 1),
        "gradients": 2 * own / (data if zero >= 2 else 1),
        "optimizer": 12 * own / (data if zero >= 1 else 1),
        "gathered": 2 * 2 * 12 * D**2 / tensor if zero == 3 else 0.0,
        "activations": kept * texts * layers * min(pipeline, micro_batches),
    }
    ### END SOLUTION


def ring_half(size, nbytes, devices_in_a_row, cluster):
    """Seconds of a ReduceScatter or AllGather over a ring, half an AllReduce.

    Arguments:
        size: ranks of the group.
        nbytes: of the whole array, of which each message has 1/size.
        devices_in_a_row: among how many devices in a row the group lies.
        cluster: a dict, as above.
    Returns: seconds, a float; 0.0 for a group of one.

    >>> cluster = {"per_node": 4, "alpha": 1.0, "bandwidth": 10.0}
    >>> cluster |= {"network_alpha": 2.0, "network_bandwidth": 4.0}
    >>> ring_half(4, 80.0, 4, cluster), ring_half(4, 80.0, 8, cluster)
    (9.0, 21.0)
    """
    ### BEGIN SOLUTION
    alpha, bandwidth = cluster["alpha"], cluster["bandwidth"]
    if devices_in_a_row > cluster["per_node"]:
        alpha, bandwidth = cluster["network_alpha"], cluster["network_bandwidth"]
    return float((size - 1) * (alpha + nbytes / size / bandwidth))
    ### END SOLUTION


def slot(model, cluster, layout, batch):
    """Say how long a stage is busy with a micro-batch, forward and backward.

    - "work": a micro-batch has tokens = batch/(R·M)·L. Each takes 6 FLOPs a parameter of the
      device, and for the attention 12·L·D/T in each of the stage's l/S layers.
    - "tensor": in each of its layers four AllReduce, each two ring halves, of an array of
      2·tokens·D bytes among T devices.
    - "pipeline", where S is above 1: a message to the next stage and one back, each alpha + bytes /
      bandwidth of the link between them, for 2·tokens·D/T bytes.
    - "data": at ZeRO stage 2 gradients leave after every micro-batch: one ring half, of 2 bytes a
      parameter of the device, among R. At stage 3 this goes layer by layer, with 1/(l/S) of these
      bytes each: parameters are gathered forward, gathered backward, and gradients leave: three
      ring halves a layer. At stages 0 and 1 nothing.

    Returns: {"work", "tensor", "pipeline", "data": seconds}, floats.
    """
    ### BEGIN SOLUTION
    data, tensor, pipeline, zero, micro_batches = layout
    D, L, layers = model["width"], model["length"], model["layers"] // pipeline
    tokens = batch // (data * micro_batches) * L
    own = parameters_of(model, layout)
    flops = tokens * (6 * own + 12 * L * D / tensor * layers)
    replicas = lambda nbytes: ring_half(data, nbytes, tensor * data, cluster)
    # A message is as long as a step of a ring of two with twice the bytes.
    message = ring_half(2, 2 * (2 * tokens * D / tensor), 2 * tensor * data, cluster)
    exchange = {2: replicas(2 * own), 3: 3 * layers * replicas(2 * own / layers)}
    return {
        "work": flops / cluster["flops"],
        "tensor": 4 * 2 * layers * ring_half(tensor, 2 * tokens * D, tensor, cluster),
        "pipeline": 2 * message if pipeline > 1 else 0.0,
        "data": exchange.get(zero, 0.0),
    }
    ### END SOLUTION


def step_seconds(model, cluster, layout, batch):
    """Say how long a training step takes.

    The pipeline has M micro-batches and S stages, so a step has M + S − 1 slots. After them comes
    what replicas still have to exchange: at ZeRO stage 0 and 1 two ring halves of 2 bytes a
    parameter of the device, at stage 2 one, at stage 3 none.

    Returns: seconds, a float.
    """
    ### BEGIN SOLUTION
    data, tensor, pipeline, zero, micro_batches = layout
    slots = (micro_batches + pipeline - 1) * sum(slot(model, cluster, layout, batch).values())
    halves = {0: 2, 1: 2, 2: 1, 3: 0}[zero]
    nbytes = 2 * parameters_of(model, layout)
    return slots + halves * ring_half(data, nbytes, tensor * data, cluster)
    ### END SOLUTION


def choose(model, cluster, batch):
    """Choose the layout with the fewest seconds of those that fit into the memory of a device.

    Returns: a layout, a tuple of five ints. There always is one. If two are equally fast, either
    will do, and so will one that is slower by less than 2 % (in the first test, by 25 %).
    """
    ### BEGIN SOLUTION
    every = layouts(model, cluster["devices"], batch)
    fitting = [one for one in every if sum(memory(model, one, batch).values()) <= cluster["memory"]]
    return min(fitting, key=lambda one: step_seconds(model, cluster, one, batch))
    ### END SOLUTION
