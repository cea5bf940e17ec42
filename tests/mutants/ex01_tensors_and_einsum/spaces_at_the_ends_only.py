"""spaces are removed at the ends only"""


def parse(subscripts):
    inputs, arrow, output = subscripts.partition("->")
    if not arrow:
        letters = inputs.replace(",", "").replace(".", "").replace(" ", "")
        once = sorted(c for c in letters if letters.count(c) == 1)
        output = ("..." if "..." in inputs else "") + "".join(once)
    return [term.strip() for term in inputs.split(",")], output.strip()
