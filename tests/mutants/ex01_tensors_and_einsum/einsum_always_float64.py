"""the result is float64 whatever the operands are"""


def einsum(subscripts, *operands):
    terms, output = parse(subscripts)
    terms, output = name_hidden_axes(terms, output, [x.ndim for x in operands])
    if clash := clashing_letter(terms, [x.shape for x in operands]):
        return clash
    size = {}
    for term, x in zip(terms, operands):
        for letter, n in zip(term, x.shape):
            size[letter] = max(n, size.get(letter, 1))
    out = np.zeros([size[letter] for letter in output])
    for values in np.ndindex(*size.values()):
        index = dict(zip(size, values))
        product = 1.0
        for term, x in zip(terms, operands):
            product *= x[tuple(min(index[c], n - 1) for c, n in zip(term, x.shape))]
        out[tuple(index[letter] for letter in output)] += product
    return out
