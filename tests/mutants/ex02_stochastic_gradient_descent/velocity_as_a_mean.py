"""the gradient is weighted by 1 - beta, but the velocity is a sum, not a mean"""


def momentum_step(w, g, v, lr, beta=0.9):
    v = beta * v + (1 - beta) * g
    return w - lr * v, v
