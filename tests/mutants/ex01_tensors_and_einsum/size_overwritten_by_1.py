"""a later size of 1 overwrites the size that was known"""


def clashing_letter(terms, shapes):
    sizes = {}
    for term, shape in zip(terms, shapes):
        for letter, size in zip(term, shape):
            known = sizes.get(letter, size)
            if known != size and not (letter.isdigit() and 1 in (known, size)):
                return letter
            sizes[letter] = size
    return None
