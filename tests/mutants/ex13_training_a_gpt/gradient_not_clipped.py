"""the gradient is not clipped"""


def train(w, batches, loss_and_gradient, lr, warmup, final, max_norm):
    losses = []
    for step, pieces in enumerate(batches):
        loss, gradient = accumulate(w, pieces, loss_and_gradient)
        w = w - learning_rate(step, lr, len(batches), warmup, final) * gradient
        losses.append(loss)
    return w, losses
