"""the ring goes round twice, there and back: 2(P − 1) steps"""


def all_reduce_seconds(P, nbytes, alpha, beta):
    steps = P.bit_length() - 1
    share = 2 * (P - 1) / P * nbytes * beta
    return {
        "ring": (P - 1) * alpha + share / 2,
        "recursive doubling": steps * (alpha + nbytes * beta),
        "halving and doubling": 2 * steps * alpha + share,
    }
