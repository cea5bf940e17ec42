"""l/S is missing: 4 AllReduces × 2 halves × l/S layers"""


def slot(model, cluster, layout, batch):
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
        "tensor": 4 * 2 * ring_half(tensor, 2 * tokens * D, tensor, cluster),
        "pipeline": 2 * message if pipeline > 1 else 0.0,
        "data": exchange.get(zero, 0.0),
    }
