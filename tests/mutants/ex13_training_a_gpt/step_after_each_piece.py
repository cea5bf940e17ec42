"""a step is taken after each piece, not after each batch"""


def train(w, batches, loss_and_gradient, lr, warmup, final, max_norm):
    losses = []
    for step, pieces in enumerate(batches):
        for piece in pieces:
            loss, gradient = accumulate(w, [piece], loss_and_gradient)
            gradient = gradient * min(1, max_norm / np.linalg.norm(gradient))
            w = w - learning_rate(step, lr, len(batches), warmup, final) * gradient
        losses.append(loss)
    return w, losses
