"""forward is missing"""


def step_seconds(forward, backward, messages):
    work = wires = 0.0
    for t, c in zip(reversed(backward), reversed(messages)):
        work += t
        wires = max(work, wires) + c
    return max(work, wires)
