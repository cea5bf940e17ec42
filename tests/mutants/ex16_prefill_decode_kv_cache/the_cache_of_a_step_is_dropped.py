"""a decode step's cache is not kept: the next hears the prompt and one token"""


def generate(step, prompt, n, room, stop):
    cache = None
    for start in range(0, len(prompt), room):
        logits, cache = step(prompt[start : start + room], cache)
    chosen = [int(logits.argmax())]
    while len(chosen) < n and chosen[-1] != stop:
        logits, _ = step(chosen[-1:], cache)
        chosen.append(int(logits.argmax()))
    return chosen
