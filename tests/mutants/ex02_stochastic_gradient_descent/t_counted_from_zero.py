"""Adam's t is counted from 0, but it is 1 for the first step"""


def train(w, X, y, orders, batch_size, lr, warmup=0, decay=0.01):
    starts = range(0, len(y), batch_size)
    batches = [order[i : i + batch_size] for order in orders for i in starts]
    m, v, path = np.zeros_like(w), np.zeros_like(w), [w]
    for k, batch in enumerate(batches):
        g = gradient(w, X[batch], y[batch])
        w, m, v = adamw_step(w, g, m, v, k, cosine(k, lr, len(batches), warmup), decay=decay)
        path.append(w)
    return np.array(path)
