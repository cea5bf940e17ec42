"""the columns are cut as if the numbers of one head lay n_h apart"""


def pool_heads(W, n_h, n_kv):
    D = len(W)
    groups = W.reshape(D, -1, n_kv, n_h // n_kv)  # (D, H, n_kv, n_h / n_kv)
    return groups.mean(axis=3).swapaxes(1, 2).reshape(D, -1)
