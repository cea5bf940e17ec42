"""the last chunk, shorter than room, is dropped"""


def generate(step, prompt, n, room, stop):
    cache = None
    for number in range(max(1, len(prompt) // room)):
        logits, cache = step(prompt[number * room : (number + 1) * room], cache)
    chosen = [int(logits.argmax())]
    while len(chosen) < n and chosen[-1] != stop:
        logits, cache = step(chosen[-1:], cache)
        chosen.append(int(logits.argmax()))
    return chosen
