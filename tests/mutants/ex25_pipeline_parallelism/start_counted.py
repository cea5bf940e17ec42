"""only the forward passes before the first backward pass are counted"""


def most_held(actions):
    return [kind for kind, _ in actions].index("B")
