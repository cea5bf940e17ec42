"""not all that has to find room in it"""


def choose(model, cluster, batch):
    every = layouts(model, cluster["devices"], batch)
    held = [memory(model, one, batch) | {"gathered": 0.0} for one in every]
    fits = [sum(parts.values()) <= cluster["memory"] for parts in held]
    fitting = [one for one, fit in zip(every, fits) if fit]
    return min(fitting, key=lambda one: step_seconds(model, cluster, one, batch))
