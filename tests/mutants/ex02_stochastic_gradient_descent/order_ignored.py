"""the samples are read as they lie, not in the order given"""


def train(w, X, y, orders, batch_size, lr, warmup=0, decay=0.01):
    indices = np.arange(len(y))
    starts = range(0, len(y), batch_size)
    batches = [indices[i : i + batch_size] for _ in orders for i in starts]
    m, v, path = np.zeros_like(w), np.zeros_like(w), [w]
    for k, batch in enumerate(batches):
        g = gradient(w, X[batch], y[batch])
        rate = cosine(k, lr, len(batches), warmup)
        w, m, v = adamw_step(w, g, m, v, k + 1, rate, decay=decay)
        path.append(w)
    return np.array(path)
