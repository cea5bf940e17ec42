"""the optimizer's float32 copy of the weights is forgotten"""


def memory_bytes(parameters, dtype, optimizer=None):
    size = 4 if dtype == "float32" else 2
    parts = {"weights": size * parameters}
    if optimizer is not None:
        parts["gradients"] = size * parameters
        for name in {"sgd": [], "momentum": ["m"], "adam": ["m", "v"]}[optimizer]:
            parts[name] = 4 * parameters
    return parts
