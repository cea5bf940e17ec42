"""the turned part is left out of the scores, and with it all positions"""


def latent_attention(q, q_R, cache, W_UK, W_UV):
    _, d_c, H = W_UK.shape
    c = cache[:, None, :, :d_c]
    k, v = c @ W_UK, c @ W_UV
    scores = q @ k.swapaxes(-1, -2)
    return causal_softmax(scores / math.sqrt(H + q_R.shape[-1])) @ v
