"""the new tokens' own keys and values are not counted: there are past + new"""


def attention_cost(B, new, past, n_h, n_kv, H, itemsize):
    numbers = 2 * B * n_h * new * H + 2 * B * n_kv * past * H
    return 4 * B * n_h * new * past * H, itemsize * numbers
