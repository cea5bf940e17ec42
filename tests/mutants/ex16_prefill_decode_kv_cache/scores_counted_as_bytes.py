"""the scores are counted as bytes, but they stay in the processor"""


def attention_cost(B, new, past, n_h, n_kv, H, itemsize):
    T = past + new
    numbers = 2 * B * n_h * new * H + 2 * B * n_kv * T * H + B * n_h * new * T
    return 4 * B * n_h * new * T * H, itemsize * numbers
