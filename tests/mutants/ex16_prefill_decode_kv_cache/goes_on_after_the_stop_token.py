"""the text does not end with the stop token"""


def generate(step, prompt, n, room, stop):
    cache, chosen = None, []
    for start in range(0, len(prompt), room):
        logits, cache = step(prompt[start : start + room], cache)
    for _ in range(n - 1):
        chosen.append(int(logits.argmax()))
        logits, cache = step(chosen[-1:], cache)
    return [*chosen, int(logits.argmax())]
