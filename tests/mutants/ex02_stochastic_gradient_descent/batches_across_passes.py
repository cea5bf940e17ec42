"""batches go on from one pass into the next"""


def train(w, X, y, orders, batch_size, lr, warmup=0, decay=0.01):
    samples = orders.ravel()
    steps = math.ceil(len(samples) / batch_size)
    m, v, path = np.zeros_like(w), np.zeros_like(w), [w]
    for k in range(steps):
        batch = samples[k * batch_size : (k + 1) * batch_size]
        g = gradient(w, X[batch], y[batch])
        w, m, v = adamw_step(w, g, m, v, k + 1, cosine(k, lr, steps, warmup), decay=decay)
        path.append(w)
    return np.array(path)
