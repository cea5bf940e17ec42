"""the rows of the cache are cut as if k_R came first"""


def latent_attention(q, q_R, cache, W_UK, W_UV):
    H = W_UK.shape[2]
    k_R, c = np.split(cache[:, None], [q_R.shape[-1]], axis=-1)
    k, v = c @ W_UK, c @ W_UV
    scores = q @ k.swapaxes(-1, -2) + q_R @ k_R.swapaxes(-1, -2)
    return causal_softmax(scores / math.sqrt(H + q_R.shape[-1])) @ v
