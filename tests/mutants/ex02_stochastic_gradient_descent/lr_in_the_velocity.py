"""lr is multiplied into the velocity, not into the step"""


def momentum_step(w, g, v, lr, beta=0.9):
    v = beta * v + lr * g
    return w - v, v
