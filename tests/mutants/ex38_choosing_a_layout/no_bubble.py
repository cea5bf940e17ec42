"""the last stage begins S − 1 slots later: M + S − 1 slots"""


def step_seconds(model, cluster, layout, batch):
    data, tensor, _, zero, micro_batches = layout
    slots = micro_batches * sum(slot(model, cluster, layout, batch).values())
    halves = {0: 2, 1: 2, 2: 1, 3: 0}[zero]
    nbytes = 2 * parameters_of(model, layout)
    return slots + halves * ring_half(data, nbytes, tensor * data, cluster)
