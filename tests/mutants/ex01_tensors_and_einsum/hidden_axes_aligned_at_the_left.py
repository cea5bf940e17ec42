"""hidden axes are aligned at the left, not at the right"""


def name_hidden_axes(terms, output, ndims):
    hidden = [ndim - len(term.replace("...", "")) for term, ndim in zip(terms, ndims)]
    most = max(hidden)
    digits = "9876543210"[10 - most :]
    terms = [term.replace("...", digits[:n]) for term, n in zip(terms, hidden)]
    return terms, output.replace("...", digits)
