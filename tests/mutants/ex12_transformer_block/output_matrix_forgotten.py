"""W_O is left out"""


def block(x, W, n_h, residual=False, norm=False, positions=False, mask=False):
    def normed(x, gamma):
        if not norm:
            return x
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-5) * gamma

    def attend(h):
        q, k, v = (split_heads(h @ W[name], n_h) for name in ("W_Q", "W_K", "W_V"))
        L = x.shape[-2]
        return merge_heads(attention(q, k, v, causal_mask(L, L) if mask else None))

    def mlp(h):
        return np.maximum(h @ W["W_1"], 0) @ W["W_2"]

    x = x + W["P"][: x.shape[-2]] if positions else x
    for layer, gamma in ((attend, W["gamma_1"]), (mlp, W["gamma_2"])):
        y = layer(normed(x, gamma))
        x = x + y if residual else y
    return x
