"""only the first head of each group is kept, and the others are lost"""


def pool_heads(W, n_h, n_kv):
    D = len(W)
    return W.reshape(D, n_kv, n_h // n_kv, -1)[:, :, 0].reshape(D, -1)
