"""a letter of size 1 is let through, but only hidden axes broadcast"""


def clashing_letter(terms, shapes):
    sizes = {}
    for term, shape in zip(terms, shapes):
        for letter, size in zip(term, shape):
            if size != 1 and sizes.setdefault(letter, size) != size:
                return letter
    return None
