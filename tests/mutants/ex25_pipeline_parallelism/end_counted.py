"""that is how many are kept at the end"""


def most_held(actions):
    return sum(1 if kind == "F" else -1 for kind, _ in actions)
