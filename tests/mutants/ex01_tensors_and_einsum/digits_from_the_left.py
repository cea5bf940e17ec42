"""the digits count from the left, not from the right"""


def name_hidden_axes(terms, output, ndims):
    hidden = [ndim - len(term.replace("...", "")) for term, ndim in zip(terms, ndims)]
    names = ["0123456789"[:n] for n in hidden]
    terms = [term.replace("...", name) for term, name in zip(terms, names)]
    return terms, output.replace("...", max(names, key=len))
