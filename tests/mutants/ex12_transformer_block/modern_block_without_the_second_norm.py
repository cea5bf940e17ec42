"""the MLP reads x itself, not rms_norm(x)"""


def modern_block(x, W, n_h, n_kv):
    L = x.shape[-2]
    h = rms_norm(x, W["gamma_1"])
    q = rotary(split_heads(h @ W["W_Q"], n_h), np.arange(L))
    k = rotary(split_heads(h @ W["W_K"], n_kv), np.arange(L))
    v = split_heads(h @ W["W_V"], n_kv)
    x = x + merge_heads(attention(q, k, v, causal_mask(L, L))) @ W["W_O"]
    return x + swiglu(x, W["W_gate"], W["W_up"], W["W_down"])
