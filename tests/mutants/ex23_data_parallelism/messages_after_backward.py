"""messages begin when all of backward is done"""


def step_seconds(forward, backward, messages):
    return forward + sum(backward) + sum(messages)
