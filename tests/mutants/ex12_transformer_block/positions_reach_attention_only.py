"""positions reach attention only: they belong to x itself, before all else"""


def block(x, W, n_h, residual=False, norm=False, positions=False, mask=False):
    def normed(x, gamma):
        if not norm:
            return x
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * gamma

    def attend(h):
        q, k, v = (split_heads(h @ W[name], n_h) for name in ("W_Q", "W_K", "W_V"))
        y = attention(q, k, v, causal_mask(len(P), len(P)) if mask else None)
        return merge_heads(y) @ W["W_O"]

    def mlp(h):
        return np.maximum(h @ W["W_1"], 0) @ W["W_2"]

    P = W["P"][: x.shape[-2]]
    h = normed(x, W["gamma_1"])
    y = attend(h + P if positions else h)
    x = x + y if residual else y
    y = mlp(normed(x, W["gamma_2"]))
    return x + y if residual else y
