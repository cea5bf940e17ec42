"""they are NumPy's integers"""


def generate(step, prompt, n, room, stop):
    cache = None
    for start in range(0, len(prompt), room):
        logits, cache = step(prompt[start : start + room], cache)
    chosen = [logits.argmax()]
    while len(chosen) < n and chosen[-1] != stop:
        logits, cache = step(chosen[-1:], cache)
        chosen.append(logits.argmax())
    return chosen
