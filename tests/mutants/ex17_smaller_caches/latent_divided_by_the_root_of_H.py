"""the scores are divided by √H; queries and keys are H + d_R wide"""


def latent_attention(q, q_R, cache, W_UK, W_UV):
    _, d_c, H = W_UK.shape
    c, k_R = cache[:, None, :, :d_c], cache[:, None, :, d_c:]
    k, v = c @ W_UK, c @ W_UV
    scores = q @ k.swapaxes(-1, -2) + q_R @ k_R.swapaxes(-1, -2)
    return causal_softmax(scores / math.sqrt(H)) @ v
