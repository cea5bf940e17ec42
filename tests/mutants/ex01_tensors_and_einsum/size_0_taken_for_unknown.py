"""a size of 0 is taken for a size that is not known yet"""


def clashing_letter(terms, shapes):
    sizes = {}
    for term, shape in zip(terms, shapes):
        for letter, size in zip(term, shape):
            if letter.isdigit() and size == 1:
                continue
            if sizes.get(letter) and sizes[letter] != size:
                return letter
            sizes[letter] = size
    return None
