"""each entry is clipped for itself, which turns the gradient"""


def train(w, batches, loss_and_gradient, lr, warmup, final, max_norm):
    losses = []
    for step, pieces in enumerate(batches):
        loss, gradient = accumulate(w, pieces, loss_and_gradient)
        gradient = np.clip(gradient, -max_norm, max_norm)
        w = w - learning_rate(step, lr, len(batches), warmup, final) * gradient
        losses.append(loss)
    return w, losses
