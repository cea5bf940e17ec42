"""the smaller batch at the end of a pass is left out"""


def train(w, X, y, orders, batch_size, lr, warmup=0, decay=0.01):
    full = len(y) // batch_size
    batches = [batch for order in orders for batch in np.split(order[: full * batch_size], full)]
    m, v, path = np.zeros_like(w), np.zeros_like(w), [w]
    for k, batch in enumerate(batches):
        g = gradient(w, X[batch], y[batch])
        rate = cosine(k, lr, len(batches), warmup)
        w, m, v = adamw_step(w, g, m, v, k + 1, rate, decay=decay)
        path.append(w)
    return np.array(path)
