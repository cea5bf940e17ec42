"""a hidden axis of size 1 counts as a clash"""


def clashing_letter(terms, shapes):
    sizes = {}
    for term, shape in zip(terms, shapes):
        for letter, size in zip(term, shape):
            if sizes.setdefault(letter, size) != size:
                return letter
    return None
