"""not all that has to find room in it"""


def choose(model, cluster, batch):
    every = layouts(model, cluster["devices"], batch)
    fitting = [
        one
        for one in every
        if sum(list(memory(model, one, batch).values())[:-1]) <= cluster["memory"]
    ]
    return min(fitting, key=lambda one: step_seconds(model, cluster, one, batch))
