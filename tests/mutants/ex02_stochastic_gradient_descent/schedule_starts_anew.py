"""the schedule starts anew in each pass"""


def train(w, X, y, orders, batch_size, lr, warmup=0, decay=0.01):
    starts = range(0, len(y), batch_size)
    m, v, path = np.zeros_like(w), np.zeros_like(w), [w]
    for order in orders:
        for k, i in enumerate(starts):
            batch = order[i : i + batch_size]
            g = gradient(w, X[batch], y[batch])
            rate = cosine(k, lr, len(starts), warmup)
            w, m, v = adamw_step(w, g, m, v, len(path), rate, decay=decay)
            path.append(w)
    return np.array(path)
