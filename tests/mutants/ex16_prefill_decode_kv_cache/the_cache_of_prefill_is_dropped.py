"""prefill's cache is not handed on: decoding begins a new text"""


def generate(step, prompt, n, room, stop):
    cache = None
    for start in range(0, len(prompt), room):
        logits, _ = step(prompt[start : start + room], cache)
    chosen = [int(logits.argmax())]
    while len(chosen) < n and chosen[-1] != stop:
        logits, cache = step(chosen[-1:], cache)
        chosen.append(int(logits.argmax()))
    return chosen
