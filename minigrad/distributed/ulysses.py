"""DeepSpeed-Ulysses: sequence shards become head shards for attention, and then go back.

Rank r holds L/P positions of all heads. Everything but attention works on positions alone; for
attention an AllToAll makes them all positions of n_h/P heads, so that any attention kernel does,
and a causal mask costs all ranks the same. The price is a limit: P must divide the heads.

With n bytes in a rank's q or out (B·n_h·L/P·H numbers) and m in its k or v (B·n_kv·L/P·H), a rank
sends (2n + 2m)·(P − 1)/P bytes forward, and as many backward: it falls as P grows.
Source: Jacobs et al., DeepSpeed Ulysses, 2023.
"""

import minigrad as mg


def ulysses_attention(q, k, v, comm, causal=False, scale=None):
    """``mg.scaled_dot_product_attention`` of a sequence whose shards the ranks hold.

    q (B, n_h, L/P, H), k and v (B, n_kv, L/P, H): positions r·L/P to (r + 1)·L/P − 1 on rank r.
    Returns (B, n_h, L/P, H), of the same positions. Raises ValueError where P does not divide n_h
    and n_kv, DistributedError where shards differ in length.
    """
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.shape[1] % comm.size:
            raise ValueError(
                f"ulysses_attention: rank {comm.rank}: {name} has {x.shape[1]} heads, which do not "
                f"divide among {comm.size} ranks; ring_attention has no such limit"
            )
    # (B, n, L/P, H) -> (B, n/P, L, H)
    q, k, v = (comm.all_to_all(x, split_axis=1, concat_axis=2) for x in (q, k, v))
    y = mg.scaled_dot_product_attention(q, k, v, causal=causal, scale=scale)
    return comm.all_to_all(y, split_axis=2, concat_axis=1)  # (B, n/P, L, H) -> (B, n, L/P, H)
