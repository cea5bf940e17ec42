"""the diagonal is summed here, which is for einsum to do"""


def align(x, term, letters):
    for letter in dict.fromkeys(term):
        if term.count(letter) > 1:
            x = np.trace(x, axis1=term.index(letter), axis2=term.rindex(letter))
            term = term.replace(letter, "")
    present = [letter for letter in letters if letter in term]
    x = np.transpose(x, [term.index(letter) for letter in present])
    missing = [axis for axis, letter in enumerate(letters) if letter not in term]
    return np.expand_dims(x, tuple(missing))
