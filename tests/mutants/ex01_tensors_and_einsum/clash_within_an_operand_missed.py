"""the sizes of a letter within one operand are not compared"""


def clashing_letter(terms, shapes):
    sizes = {}
    for term, shape in zip(terms, shapes):
        for letter, size in dict(zip(term, shape)).items():
            if letter.isdigit() and size == 1:
                continue
            if sizes.setdefault(letter, size) != size:
                return letter
    return None
