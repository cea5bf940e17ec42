"""more tokens go in than needed: each goes in once, the last one never"""


def generate(step, prompt, n, room, stop):
    cache, chosen = None, []
    for start in range(0, len(prompt), room):
        logits, cache = step(prompt[start : start + room], cache)
    while len(chosen) < n and (not chosen or chosen[-1] != stop):
        chosen.append(int(logits.argmax()))
        logits, cache = step(chosen[-1:], cache)
    return chosen
