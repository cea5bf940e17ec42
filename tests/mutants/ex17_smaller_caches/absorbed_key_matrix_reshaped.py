"""W_UK is reshaped to (n_h, H, d_c); that is not its transpose"""


def absorbed_attention(q, q_R, cache, W_UK, W_UV):
    n_h, d_c, H = W_UK.shape
    rows = cache[:, None]
    queries = np.concatenate([q @ W_UK.reshape(n_h, H, d_c), q_R], axis=-1)
    scores = queries @ rows.swapaxes(-1, -2) / math.sqrt(H + q_R.shape[-1])
    mixed = causal_softmax(scores) @ rows[..., :d_c]
    return queries, mixed, mixed @ W_UV
