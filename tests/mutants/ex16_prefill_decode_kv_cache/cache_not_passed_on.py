"""the cache that step returns is not passed on: every call begins a new text"""


def generate(step, prompt, n, room, stop):
    for start in range(0, len(prompt), room):
        logits, _ = step(prompt[start : start + room], None)
    chosen = [int(logits.argmax())]
    while len(chosen) < n and chosen[-1] != stop:
        logits, _ = step(chosen[-1:], None)
        chosen.append(int(logits.argmax()))
    return chosen
