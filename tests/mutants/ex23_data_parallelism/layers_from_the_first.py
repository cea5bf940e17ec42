"""backward goes through the layers from the first to the last"""


def step_seconds(forward, backward, messages):
    work = wires = forward
    for t, c in zip(backward, messages):
        work += t
        wires = max(work, wires) + c
    return max(work, wires)
