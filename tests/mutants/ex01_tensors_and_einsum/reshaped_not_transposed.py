"""the numbers are reshaped where axes should change places"""


def align(x, term, letters):
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            i, j = term.index(letter), term.rindex(letter)
            x = np.diagonal(x, axis1=i, axis2=j)
            term = term[:i] + term[i + 1 : j] + term[j + 1 :] + letter
    size = dict(zip(term, x.shape))
    return x.reshape([size.get(letter, 1) for letter in letters])
