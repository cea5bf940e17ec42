"""the letters stand in the order of the string, not sorted"""


def parse(subscripts):
    inputs, arrow, output = subscripts.replace(" ", "").partition("->")
    if not arrow:
        letters = inputs.replace(",", "").replace(".", "")
        once = [c for c in letters if letters.count(c) == 1]
        output = ("..." if "..." in inputs else "") + "".join(once)
    return inputs.split(","), output
