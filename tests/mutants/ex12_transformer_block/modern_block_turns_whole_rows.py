"""whole rows are turned, and split into heads afterwards; each head has its own arrows"""


def modern_block(x, W, n_h, n_kv):
    L = x.shape[-2]
    positions = np.arange(L)
    h = rms_norm(x, W["gamma_1"])
    q = split_heads(rotary(h @ W["W_Q"], positions), n_h)
    k = split_heads(rotary(h @ W["W_K"], positions), n_kv)
    v = split_heads(h @ W["W_V"], n_kv)
    x = x + merge_heads(attention(q, k, v, causal_mask(L, L))) @ W["W_O"]
    return x + swiglu(rms_norm(x, W["gamma_2"]), W["W_gate"], W["W_up"], W["W_down"])
