"""the reshape cuts the rows of W, and what it makes is not put side by side again"""


def pool_heads(W, n_h, n_kv):
    D = len(W)
    return W.reshape(n_kv, n_h // n_kv, D, -1).mean(axis=1).reshape(D, -1)
