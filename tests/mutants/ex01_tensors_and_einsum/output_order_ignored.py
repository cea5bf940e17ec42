"""the output's axes are in the wrong order"""


def einsum(subscripts, *operands):
    terms, output = parse(subscripts)
    terms, output = name_hidden_axes(terms, output, [x.ndim for x in operands])
    if clash := clashing_letter(terms, [x.shape for x in operands]):
        return clash
    letters = "".join(sorted(set("".join(terms))))
    aligned = [align(x, term, letters) for x, term in zip(operands, terms)]
    gone = tuple(i for i, letter in enumerate(letters) if letter not in output)
    return math.prod(aligned).sum(axis=gone)
