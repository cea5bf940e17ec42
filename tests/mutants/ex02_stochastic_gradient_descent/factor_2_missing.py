"""the factor 2 of the square's derivative is missing"""


def gradient(w, X, y):
    return (X @ w - y) @ X / len(y)
