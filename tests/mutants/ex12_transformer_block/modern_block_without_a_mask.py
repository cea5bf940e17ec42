"""there is no causal mask"""


def modern_block(x, W, n_h, n_kv):
    L = x.shape[-2]
    positions = np.arange(L)
    h = rms_norm(x, W["gamma_1"])
    q = rotary(split_heads(h @ W["W_Q"], n_h), positions)
    k = rotary(split_heads(h @ W["W_K"], n_kv), positions)
    v = split_heads(h @ W["W_V"], n_kv)
    x = x + merge_heads(attention(q, k, v)) @ W["W_O"]
    return x + swiglu(rms_norm(x, W["gamma_2"]), W["W_gate"], W["W_up"], W["W_down"])
