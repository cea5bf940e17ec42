"""the decay is not multiplied by lr"""


def adamw_step(w, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    return adam_step(w - decay * w, g, m, v, t, lr, beta1, beta2, eps)
