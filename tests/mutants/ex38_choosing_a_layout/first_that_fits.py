"""the layout is not compared with all others that fit by the seconds of a step"""


def choose(model, cluster, batch):
    every = layouts(model, cluster["devices"], batch)
    fitting = [one for one in every if sum(memory(model, one, batch).values()) <= cluster["memory"]]
    return fitting[0]
