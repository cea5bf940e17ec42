"""the prompt goes in as chunks of room tokens"""


def generate(step, prompt, n, room, stop):
    cache = None
    for token in prompt:
        logits, cache = step([token], cache)
    chosen = [int(logits.argmax())]
    while len(chosen) < n and chosen[-1] != stop:
        logits, cache = step(chosen[-1:], cache)
        chosen.append(int(logits.argmax()))
    return chosen
