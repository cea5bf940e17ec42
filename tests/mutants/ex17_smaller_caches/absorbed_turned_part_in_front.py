"""the query's turned part stands in front, and meets numbers of the latent"""


def absorbed_attention(q, q_R, cache, W_UK, W_UV):
    _, d_c, H = W_UK.shape
    rows = cache[:, None]
    queries = np.concatenate([q_R, q @ W_UK.swapaxes(-1, -2)], axis=-1)
    scores = queries @ rows.swapaxes(-1, -2) / math.sqrt(H + q_R.shape[-1])
    mixed = causal_softmax(scores) @ rows[..., :d_c]
    return queries, mixed, mixed @ W_UV
