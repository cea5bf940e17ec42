"""that is the formula for equal layers: go through them one after the other"""


def step_seconds(forward, backward, messages):
    slow_work = forward + sum(backward) + messages[0]
    slow_wires = forward + backward[-1] + sum(messages)
    return max(slow_work, slow_wires)
