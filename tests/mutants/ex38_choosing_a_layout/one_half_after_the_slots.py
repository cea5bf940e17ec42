"""at stage 0 and 1 there are two halves of a ring after the slots"""


def step_seconds(model, cluster, layout, batch):
    data, tensor, pipeline, zero, micro_batches = layout
    slots = (micro_batches + pipeline - 1) * sum(slot(model, cluster, layout, batch).values())
    halves = {0: 1, 1: 1, 2: 1, 3: 0}[zero]
    nbytes = 2 * parameters_of(model, layout)
    return slots + halves * ring_half(data, nbytes, tensor * data, cluster)
