"""that is how many there are, not how many are kept at once"""


def most_held(actions):
    return len(actions) // 2
