"""an empty output is taken for a missing one"""


def parse(subscripts):
    inputs, _, output = subscripts.replace(" ", "").partition("->")
    if not output:
        letters = inputs.replace(",", "").replace(".", "")
        once = sorted(c for c in letters if letters.count(c) == 1)
        output = ("..." if "..." in inputs else "") + "".join(once)
    return inputs.split(","), output
