"""dots that hide nothing get all digits: text[-0:] is the whole text"""


def name_hidden_axes(terms, output, ndims):
    hidden = [ndim - len(term.replace("...", "")) for term, ndim in zip(terms, ndims)]
    terms = [term.replace("...", "9876543210"[-n:]) for term, n in zip(terms, hidden)]
    return terms, output.replace("...", "9876543210"[-max(hidden) :])
