"""it reads other ranks' heads, or the partial sums travel more than once"""

_attention = attention
_all = lambda comm, W: comm.all_gather(W.T).T


class _Alone:
    rank, size = 0, 1
    all_reduce = staticmethod(lambda x: x)


def attention(comm, X, W_Q_r, W_K_r, W_V_r, W_O_r, n_h):
    W = [_all(comm, W) for W in (W_Q_r, W_K_r, W_V_r)]
    return _attention(_Alone, X, *W, comm.all_gather(W_O_r), n_h)
