"""the decay is added to the gradient, so that it passes through m and v"""


def adamw_step(w, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    return adam_step(w, g + decay * w, m, v, t, lr, beta1, beta2, eps)
