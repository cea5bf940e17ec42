"""the means start anew in each pass"""


def train(w, X, y, orders, batch_size, lr, warmup=0, decay=0.01):
    starts = range(0, len(y), batch_size)
    path, k = [w], 0
    for order in orders:
        m, v = np.zeros_like(w), np.zeros_like(w)
        for t, i in enumerate(starts, start=1):
            batch = order[i : i + batch_size]
            rate = cosine(k, lr, len(orders) * len(starts), warmup)
            w, m, v = adamw_step(w, gradient(w, X[batch], y[batch]), m, v, t, rate, decay=decay)
            path.append(w)
            k += 1
    return np.array(path)
