"""keys and values are counted in n_h heads, and only n_kv are there"""


def attention_cost(B, new, past, n_h, n_kv, H, itemsize):
    T = past + new
    return 4 * B * n_h * new * T * H, itemsize * 2 * B * n_h * (new + T) * H
