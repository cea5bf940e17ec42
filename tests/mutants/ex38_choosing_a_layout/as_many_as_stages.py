"""there may be fewer than S micro-batches: min(S, M)"""


def memory(model, layout, batch):
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
        "activations": kept * texts * layers * pipeline,
    }
