"""every letter is kept once, even if it occurs twice"""


def parse(subscripts):
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    if not arrow:
        letters = set(inputs) - set(",.")
        output = ("..." if "..." in inputs else "") + "".join(sorted(letters))
    return inputs.split(","), output
