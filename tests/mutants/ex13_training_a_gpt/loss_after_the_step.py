"""the loss is taken after the step, not before it"""


def train(w, batches, loss_and_gradient, lr, warmup, final, max_norm):
    losses = []
    for step, pieces in enumerate(batches):
        _, gradient = accumulate(w, pieces, loss_and_gradient)
        length = np.linalg.norm(gradient)
        gradient = gradient * min(1, max_norm / length)
        w = w - learning_rate(step, lr, len(batches), warmup, final) * gradient
        losses.append(accumulate(w, pieces, loss_and_gradient)[0])
    return w, losses
