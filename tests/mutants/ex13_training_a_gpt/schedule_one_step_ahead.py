"""the schedule is one step ahead: steps count from 0"""


def train(w, batches, loss_and_gradient, lr, warmup, final, max_norm):
    losses = []
    for step, pieces in enumerate(batches):
        loss, gradient = accumulate(w, pieces, loss_and_gradient)
        length = np.linalg.norm(gradient)
        gradient = gradient * min(1, max_norm / length)
        w = w - learning_rate(step + 1, lr, len(batches), warmup, final) * gradient
        losses.append(loss)
    return w, losses
