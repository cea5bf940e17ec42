"""the scores are divided by √(d_c + d_R); the keys that are meant are H + d_R wide"""


def absorbed_attention(q, q_R, cache, W_UK, W_UV):
    d_c = W_UK.shape[1]
    rows = cache[:, None]
    queries = np.concatenate([q @ W_UK.swapaxes(-1, -2), q_R], axis=-1)
    scores = queries @ rows.swapaxes(-1, -2) / math.sqrt(queries.shape[-1])
    mixed = causal_softmax(scores) @ rows[..., :d_c]
    return queries, mixed, mixed @ W_UV
