"""messages do not wait for each other: the wires carry one at a time"""


def step_seconds(forward, backward, messages):
    work = end = forward
    for t, c in zip(reversed(backward), reversed(messages)):
        work += t
        end = max(end, work + c)
    return end
