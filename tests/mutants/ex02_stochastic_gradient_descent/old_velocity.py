"""the step follows the old velocity, not the new one"""


def momentum_step(w, g, v, lr, beta=0.9):
    return w - lr * v, beta * v + g
