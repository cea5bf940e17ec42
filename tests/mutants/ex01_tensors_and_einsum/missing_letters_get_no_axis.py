"""the letters that x lacks get no axis"""


def align(x, term, letters):
    present = [letter for letter in letters if letter in term]
    strides = [sum(s for c, s in zip(term, x.strides) if c == letter) for letter in present]
    size = dict(zip(term, x.shape))
    return np.lib.stride_tricks.as_strided(x, [size[letter] for letter in present], strides)
