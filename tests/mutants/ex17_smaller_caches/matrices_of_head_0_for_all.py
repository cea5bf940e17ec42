"""every head uses the matrices of head 0"""


def latent_attention(q, q_R, cache, W_UK, W_UV):
    _, d_c, H = W_UK.shape
    c, k_R = cache[:, None, :, :d_c], cache[:, None, :, d_c:]
    k, v = c @ W_UK[0], c @ W_UV[0]
    scores = q @ k.swapaxes(-1, -2) + q_R @ k_R.swapaxes(-1, -2)
    return causal_softmax(scores / math.sqrt(H + q_R.shape[-1])) @ v
