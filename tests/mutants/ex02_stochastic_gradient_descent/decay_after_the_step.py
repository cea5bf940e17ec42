"""the decay is applied after Adam's step, to the new weights"""


def adamw_step(w, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    w, m, v = adam_step(w, g, m, v, t, lr, beta1, beta2, eps)
    return w - lr * decay * w, m, v
