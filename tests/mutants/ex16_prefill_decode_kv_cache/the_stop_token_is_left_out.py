"""the stop token is left out; it is the last of the tokens returned"""


def generate(step, prompt, n, room, stop):
    cache, chosen = None, []
    for start in range(0, len(prompt), room):
        logits, cache = step(prompt[start : start + room], cache)
    while True:
        token = int(logits.argmax())
        if token == stop:
            return chosen
        chosen.append(token)
        if len(chosen) == n:
            return chosen
        logits, cache = step([token], cache)
