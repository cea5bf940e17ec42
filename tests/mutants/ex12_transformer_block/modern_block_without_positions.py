"""nothing is turned: the block knows no positions"""


def modern_block(x, W, n_h, n_kv):
    L = x.shape[-2]
    h = rms_norm(x, W["gamma_1"])
    q = split_heads(h @ W["W_Q"], n_h)
    k = split_heads(h @ W["W_K"], n_kv)
    v = split_heads(h @ W["W_V"], n_kv)
    x = x + merge_heads(attention(q, k, v, causal_mask(L, L))) @ W["W_O"]
    return x + swiglu(rms_norm(x, W["gamma_2"]), W["W_gate"], W["W_up"], W["W_down"])
