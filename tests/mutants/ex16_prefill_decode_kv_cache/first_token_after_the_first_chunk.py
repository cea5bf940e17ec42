"""the first token is chosen after the first chunk, not after the last"""


def generate(step, prompt, n, room, stop):
    logits, cache = step(prompt[:room], None)
    chosen = [int(logits.argmax())]
    for start in range(room, len(prompt), room):
        logits, cache = step(prompt[start : start + room], cache)
    while len(chosen) < n and chosen[-1] != stop:
        logits, cache = step(chosen[-1:], cache)
        chosen.append(int(logits.argmax()))
    return chosen
