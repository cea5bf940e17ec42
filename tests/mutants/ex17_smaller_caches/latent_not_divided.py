"""the scores are not divided by the root of the keys' width"""


def latent_attention(q, q_R, cache, W_UK, W_UV):
    d_c = W_UK.shape[1]
    c, k_R = cache[:, None, :, :d_c], cache[:, None, :, d_c:]
    k, v = c @ W_UK, c @ W_UV
    scores = q @ k.swapaxes(-1, -2) + q_R @ k_R.swapaxes(-1, -2)
    return causal_softmax(scores) @ v
