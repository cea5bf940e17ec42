"""Ring attention: queries stay, keys and values go round, and no rank ever holds all of them.

In step s, rank r has the keys and values of rank r − s, meets them with its queries, and passes
them on to the right. What a query has seen so far is three things: its largest score, the sum of
e^(score − largest), and the values summed with these weights. Two such triples make one
(``merge``), as in FlashAttention, whose outer loop this is, with ranks for blocks.

The body of ``_ring`` says so in differentiable ``send_recv``. Its graph would keep all keys and
values that came by and all scores, (L/P, L). The kernel, ``blockwise``, therefore has a backward
pass of its own: it keeps the output and one number a query, the log-sum-exp, and makes the scores
again while keys and values go round a second time, with dk and dv one step behind them until they
are home. It also sends ahead: the next keys are on their way while these are worked on.

With m bytes in a rank's k or v, a rank sends 2(P − 1)·m bytes forward and 4(P − 1)·m backward; m is
1/P of the whole, so that this hardly falls as P grows. Tiles that the mask hides are skipped.
Source: Liu, Zaharia and Abbeel, Ring Attention, 2023. Layouts: see ``shards``.
"""

import math

import numpy as np

import minigrad as mg
from minigrad import backend
from minigrad.distributed.algorithms.ring import neighbours
from minigrad.distributed.shards import chunk_numbers
from minigrad.engine import fused, plain
from minigrad.ops.attention import check_attention_shapes


def ring_attention(
    q, k, v, comm, causal=False, scale=None, layout="contiguous", seconds_per_pair=0.0
):
    """``mg.scaled_dot_product_attention`` of a sequence whose shards the ranks hold.

    q (B, n_h, L/P, H), k and v (B, n_kv, L/P, H): the positions of ``shards.positions``. Returns
    (B, n_h, L/P, H), of the same positions. seconds_per_pair: simulated seconds of work a (query,
    key) pair, all heads together; backward works 2.5 times as long (five products for two).

    Raises ValueError for shapes that do not fit, or a shard that layout "zigzag" cannot halve;
    DistributedError where shards differ in length.
    """
    check_attention_shapes(q, k, v, None)
    parts = len(chunk_numbers(comm.rank, comm.size, layout))
    if q.shape[2] != k.shape[2] or q.shape[2] % parts:
        raise ValueError(
            f"ring_attention: rank {comm.rank} has {q.shape[2]} queries and {k.shape[2]} keys; "
            f"expected as many of both, in {parts} equal chunks for layout {layout!r}"
        )
    scale = 1 / math.sqrt(q.shape[3]) if scale is None else scale
    return _ring(
        q, k, v, comm=comm, causal=causal, scale=scale, layout=layout, pace=seconds_per_pair
    )


@fused
def _ring(q, k, v, /, comm, causal, scale, layout, pace):
    left, right = neighbours(comm)
    queries = _chunks(_grouped(q, k), comm, layout)
    seen = [None] * len(queries)
    kv = mg.concatenate([k, v], -1)  # (B, n_kv, L/P, 2H): one message in place of two
    for step in range(comm.size):
        keys, values = _keys_and_values(kv, k.shape[3], comm, layout)
        for i, j, diagonal in tiles(comm.rank, comm.size, step, causal, layout):
            seen[i] = merge(seen[i], attend(queries[i], keys[j], values[j], scale, diagonal))
        work = pairs(q.shape[2], comm.rank, comm.size, step, causal, layout)
        comm.compute(pace * work, f"step {step}")
        if step < comm.size - 1:
            kv = comm.send_recv(kv, right, left)
    out = mg.concatenate([mixed / total for _, total, mixed in seen], -2)
    # A rank that had no use for the last keys takes part in sending their gradients back.
    out = out + mg.sum(kv[:0])
    return mg.reshape(out, (*q.shape[:3], v.shape[3]))


_ring.kernel("cpu", "minigrad.distributed.ring_attention:blockwise")
_ring.kernel("cuda", "minigrad.distributed.ring_attention:blockwise")


class blockwise:
    """``_ring`` with a backward pass of its own. Saved: q, k, v, the output and, for every query,
    the log-sum-exp of its scores."""

    dtypes = ("float32", "float64")

    @staticmethod
    def forward(q, k, v, *, comm, causal, scale, layout, pace):
        queries = _chunks(_grouped(q, k), comm, layout)
        seen = [None] * len(queries)
        kv = np.concatenate([k, v], -1)
        for step in range(comm.size):
            last = step == comm.size - 1
            coming = None if last else _pass_on(kv, comm)
            keys, values = _keys_and_values(kv, k.shape[3], comm, layout)
            for i, j, diagonal in tiles(comm.rank, comm.size, step, causal, layout):
                seen[i] = merge(seen[i], attend(queries[i], keys[j], values[j], scale, diagonal))
            work = pairs(q.shape[2], comm.rank, comm.size, step, causal, layout)
            comm.compute(pace * work, f"step {step}")
            kv = kv if last else coming()
        out = np.concatenate([mixed / total for _, total, mixed in seen], -2)
        lse = np.concatenate([top + np.log(total) for top, total, _ in seen], -2)
        return out.reshape(*q.shape[:3], v.shape[3]), (q, k, v, out, lse)

    @staticmethod
    def backward(g, saved, needs, *, comm, causal, scale, layout, pace):
        q, k, v, out, lse = saved
        g = g.reshape(out.shape)
        mean = (g * out).sum(-1, keepdims=True)  # (…, L/P, 1): Σⱼ pⱼ·dpⱼ of each query
        rows = [_chunks(x, comm, layout) for x in (_grouped(q, k), g, lse, mean)]
        rows = list(zip(*rows))  # for each chunk of queries: q, g, lse, mean
        dq = [np.zeros_like(chunk[0]) for chunk in rows]
        kv, home, coming_d = np.concatenate([k, v], -1), None, None
        for step in range(comm.size):
            last = step == comm.size - 1
            coming = None if last else _pass_on(kv, comm)
            keys, values = _keys_and_values(kv, k.shape[3], comm, layout)
            dkv = np.zeros_like(kv)
            dkeys, dvalues = _keys_and_values(dkv, k.shape[3], comm, layout)
            for i, j, diagonal in tiles(comm.rank, comm.size, step, causal, layout):
                found = attend_grad(*rows[i], keys[j], values[j], scale, diagonal)
                for whole, part in zip((dq[i], dkeys[j], dvalues[j]), found):
                    whole += part
            work = pairs(q.shape[2], comm.rank, comm.size, step, causal, layout)
            comm.compute(2.5 * pace * work, f"step {step} back")
            # Others' shares of dk and dv go one rank behind the keys, and end where these began.
            if step == 0:
                home = dkv
            else:
                dkv = dkv if coming_d is None else dkv + coming_d()
                coming_d = _pass_on(dkv, comm, tag=1)
            kv = kv if last else coming()
        home = home if coming_d is None else home + coming_d()
        dq = np.concatenate(dq, -2).reshape(q.shape)
        return dq, home[..., : k.shape[3]], home[..., k.shape[3] :]


def tiles(rank, size, step, causal, layout):
    """[(i, j, diagonal)]: which of a rank's chunks of queries meets which chunk of keys in a step,
    and whether the mask cuts through that tile; those wholly hidden are left out."""
    mine = chunk_numbers(rank, size, layout)
    theirs = chunk_numbers((rank - step) % size, size, layout)
    return [
        (i, j, causal and a == b)
        for i, a in enumerate(mine)
        for j, b in enumerate(theirs)
        if b <= a or not causal
    ]


def pairs(length, rank, size, step, causal, layout):
    """How many (query, key) pairs of a step are not masked, with shards of that length."""
    c = length // len(chunk_numbers(rank, size, layout))
    met = tiles(rank, size, step, causal, layout)
    return sum(c * (c + 1) // 2 if diagonal else c * c for _, _, diagonal in met)


def attend(q, k, v, scale, diagonal):
    """What queries see of a tile: (largest score, Σ e^(score − largest), Σ e^(…)·value).

    q (B, n_kv, group, c, H), k and v (B, n_kv, 1, c, H); diagonal: query i sees keys up to i.
    The largest score only shifts numbers, and has no derivative.
    """
    scores = _scores(q, k, scale, diagonal)
    top = mg.stop_gradient(mg.max(scores, axis=-1, keepdims=True))  # (…, c, 1)
    p = mg.exp(scores - top)
    return top, mg.sum(p, axis=-1, keepdims=True), mg.matmul(p, v)


def merge(a, b):
    """Two parts of a softmax as one: both are brought to the larger of the largest scores."""
    if a is None:
        return b
    top = mg.maximum(a[0], b[0])
    keep, add = mg.exp(a[0] - top), mg.exp(b[0] - top)
    return top, a[1] * keep + b[1] * add, a[2] * keep + b[2] * add


def attend_grad(q, g, lse, mean, k, v, scale, diagonal):
    """A tile's share of dq, dk and dv, from g, the gradient of the output.

    With P = e^(S − lse): dV = Pᵀ G, dP = G Vᵀ, dS = P·(dP − mean), dQ = dS K, dK = dSᵀ Q.
    """
    p = np.exp(_scores(q, k, scale, diagonal) - lse)  # (B, n_kv, group, c, c)
    dv = (p.swapaxes(-1, -2) @ g).sum(2, keepdims=True)  # over the queries that share a key
    ds = p * (g @ v.swapaxes(-1, -2) - mean) * scale
    dk = (ds.swapaxes(-1, -2) @ q).sum(2, keepdims=True)
    return ds @ k, dk, dv


def _scores(q, k, scale, diagonal):
    scores = mg.matmul(q * scale, mg.swapaxes(k, -1, -2))  # (B, n_kv, group, c, c)
    if diagonal:
        mask = backend.beside(mg.causal_mask(*scores.shape[-2:]), plain(scores))
        scores = mg.where(mask, scores, -math.inf)
    return scores


def _pass_on(x, comm, tag=0):
    """Begin to send to the right and to receive from the left; a function that waits for both."""
    left, right = neighbours(comm)
    arriving, leaving = comm.irecv(x, left, tag), comm.isend(x, right, tag)

    def wait():
        leaving.wait()
        return arriving.wait()

    return wait


def _grouped(q, k):
    """(B, n_h, L/P, H) -> (B, n_kv, n_h/n_kv, L/P, H)."""
    B, n_h, length, H = q.shape
    return mg.reshape(q, (B, k.shape[1], n_h // k.shape[1], length, H))


def _chunks(x, comm, layout):
    """A rank's shard (…, L/P, H) in chunks that follow each other in the sequence."""
    return mg.split(x, len(chunk_numbers(comm.rank, comm.size, layout)), axis=-2)


def _keys_and_values(kv, width, comm, layout):
    """(B, n_kv, L/P, 2H) -> chunks of keys and of values, each (B, n_kv, 1, c, H)."""
    kv = kv[:, :, None]
    halves = kv[..., :width], kv[..., width:]
    return [_chunks(x, comm, layout) for x in halves]
