"""this is the transpose: outputs belong to rows, inputs to columns"""


def jacobian(f, xs):
    return np.array([jvp(f, xs, u)[1] for u in np.eye(len(xs))])
