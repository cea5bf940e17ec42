"""the heads of a group are added up, not averaged"""


def pool_heads(W, n_h, n_kv):
    D = len(W)
    return W.reshape(D, n_kv, n_h // n_kv, -1).sum(axis=2).reshape(D, -1)
