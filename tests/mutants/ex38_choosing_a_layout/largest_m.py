"""only the largest M is tried"""


def choose(model, cluster, batch):
    every = layouts(model, cluster["devices"], batch)
    fitting = [one for one in every if sum(memory(model, one, batch).values()) <= cluster["memory"]]
    fitting = [one for one in fitting if one[4] == batch // one[0]]
    return min(fitting, key=lambda one: step_seconds(model, cluster, one, batch))
