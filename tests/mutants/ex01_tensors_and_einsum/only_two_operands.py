"""only the first two operands are multiplied"""


def einsum(subscripts, *operands):
    terms, output = parse(subscripts)
    terms, output = name_hidden_axes(terms, output, [x.ndim for x in operands])
    if clash := clashing_letter(terms, [x.shape for x in operands]):
        return clash
    summed = "".join(sorted(set("".join(terms)) - set(output)))
    first, *others = [align(x, term, output + summed) for x, term in zip(operands, terms)]
    product = first * others[0] if others else first
    return product.sum(axis=tuple(range(len(output), len(output + summed))))
