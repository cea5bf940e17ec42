"""Tests of exercise 27: between the products of matrices every rank keeps its own positions."""

import math

import numpy as np

from minigrad.course.testing import at_most, expect, per_rank

COLLECTIVES = ("all_gather", "reduce_scatter", "all_reduce")
SIZES = (2, 3, 6, 1)
EPS = 1e-5


def on(function, size):
    return function.on_ranks(size, may_use=COLLECTIVES)


def own(x, P):
    """[rank's positions of x (L, …)], counted one by one."""
    rows = len(x) // P
    return [np.stack([x[r * rows + i] for i in range(rows)]) for r in range(P)]


def sparing(run, numbers, what):
    """Check that no rank sends more than 3/4 of so many numbers twice, as 4 ranks have to."""
    at_most(max(run.traffic.sent()), 2 * 3 * 8 * numbers // 4, "bytes that a rank sends", what)


def normed(x, gain, eps=EPS):
    """The norm of each row, one after the other."""
    rows = [row / math.sqrt(math.fsum(row * row) / len(row) + eps) * gain for row in x]
    return np.array(rows).reshape(x.shape)


def stream_by_hand(Y, x, gain, P):
    """{words: wrong answers}; Y (P, L, D) are all ranks' partial sums, x (L, D)."""
    total = np.sum(Y, axis=0)

    def of(stream, N=None):
        N = normed(stream, gain) if N is None else N
        return [(part, N) for part in own(stream, P)]

    alone = np.concatenate([own(Y[r], P)[r] for r in range(P)]) + x
    mistakes = {
        "the residual is added on every rank, so P times": of(P * x + total),
        "the mean was taken off: this norm divides by the root mean square only": of(
            x + total, normed(x + total - (x + total).mean(axis=1, keepdims=True), gain)
        ),
        "the stream that is returned is the norm, not what was normed": [
            (part, normed(x + total, gain)) for part in own(normed(x + total, gain), P)
        ],
        "EPS is missing under the root": of(x + total, normed(x + total, gain, 0.0)),
        "ḡ adds up: what other ranks have of this rank's positions is missing": of(alone),
        "the residual is not added": of(total),
        "the norm is of the sum alone, without the residual": of(x + total, normed(total, gain)),
        "the stream that is returned is the one before the sum was added": [
            (part, normed(x + total, gain)) for part in own(x, P)
        ],
        "N is of this rank's positions alone; g gathers those of all": [
            (part, normed(part, gain)) for part in own(x + total, P)
        ],
        "the stream is whole; a rank keeps its own positions": [
            (x + total, normed(x + total, gain))
        ]
        * P,
        "the norm divides by the mean of x², not by its root": of(
            x + total,
            (x + total) / ((x + total) ** 2 + EPS).mean(axis=1, keepdims=True) * gain,
        ),
        "it is the mean of the partial sums, not their sum": of(x + total / P),
    }
    if len(x) == P:  # a position each, so that shapes go together
        streams = [row + np.concatenate(Y) for row in x]  # (P·L, D) each
        norms = own(sum(normed(stream, gain) for stream in streams), P)
        mistakes["g and ḡ are exchanged: ḡ scatters the sum, g gathers"] = [*zip(streams, norms)]
    return mistakes


def check_stream(answer, rng, P, L, D):
    Y, x, gain = rng.normal(size=(P, L, D)), rng.normal(size=(L, D)), rng.normal(size=D)
    run = on(answer.residual_and_norm, P)(per_rank(Y), per_rank(own(x, P)), gain)
    stream = x + Y.sum(axis=0)
    want = [(part, normed(stream, gain)) for part in own(stream, P)]
    expect(run, want, stream_by_hand(Y, x, gain, P) if P > 1 else {})
    return run


def test_two_ranks_norm_a_position_each(answer):
    Y = np.array([[[1.0, 2.0], [0.0, 1.0]], [[1.0, 1.0], [4.0, -1.0]]])
    x, gain = np.array([[1.0, 1.0], [-1.0, -4.0]]), np.array([1.0, 10.0])
    run = on(answer.residual_and_norm, 2)(per_rank(Y), per_rank([x[:1], x[1:]]), gain)
    stream = np.array([[3.0, 4.0], [3.0, -4.0]])
    root = math.sqrt(12.5 + EPS)
    N = np.array([[3.0, 40.0], [3.0, -40.0]]) / root
    want = [(stream[:1], N), (stream[1:], N)]
    expect(run, want, stream_by_hand(Y, x, gain, 2))


def test_the_stream_and_its_norm_on_any_number_of_ranks(answer, rng):
    for P in SIZES:
        check_stream(answer, rng, P, L=6, D=4)
    check_stream(answer, rng, P=2, L=4, D=7)


def test_a_position_is_normed_by_its_own_rank(answer, rng):
    P, L, D = 3, 6, 4
    Y, x, gains = rng.normal(size=(P, L, D)), rng.normal(size=(L, D)), rng.normal(size=(P, D))
    run = on(answer.residual_and_norm, P)(per_rank(Y), per_rank(own(x, P)), per_rank(gains))
    shares = own(x + Y.sum(axis=0), P)
    N = np.concatenate([normed(part, gain) for part, gain in zip(shares, gains)])
    everywhere = [(part, normed(np.concatenate(shares), gain)) for part, gain in zip(shares, gains)]
    mistakes = {
        "all ranks norm all positions: a rank norms its own, gain included, before g": everywhere
    }
    expect(run, [(part, N) for part in shares], mistakes)


def test_the_gap_takes_a_reduce_scatter_and_an_all_gather(answer, rng):
    run = check_stream(answer, rng, P=4, L=8, D=6)
    sparing(run, 8 * 6, "more than one ReduceScatter and one AllGather of (L, D) travels")


def norm_gradients_of(x, gain, dN, slip=None):
    """(dx (L, D), the part of dgain of each position (L, D)), by differences of the formula."""
    dx, dgain = np.zeros_like(x), np.zeros_like(x)
    for i, row in enumerate(x):
        root = math.sqrt(math.fsum(row * row) / len(row) + (0.0 if slip == "no eps" else EPS))
        dgain[i] = dN[i] * row / root
        if slip == "gain twice":
            dgain[i] *= gain
        dn = dN[i] if slip == "no gain" else dN[i] * gain
        # ∂(x_j/root)/∂x_k = δ_jk/root − x_j·x_k/(D·root³)
        jacobian = np.eye(len(row)) / root
        if slip != "no mean":
            jacobian = jacobian - np.outer(row, row) / (len(row) * root**3)
        dx[i] = jacobian @ dn
    return dx, dgain


def gradients_by_hand(x, gain, dN, P):
    """{words: wrong answers}; dN (P, L, D) are all ranks' partial sums."""
    total = dN.sum(axis=0)
    dx, dgain = norm_gradients_of(x, gain, total)
    alone = np.concatenate([own(dN[r], P)[r] for r in range(P)])
    dx_alone, dgain_alone = norm_gradients_of(x, gain, alone)
    slip = lambda kind: [
        (part, norm_gradients_of(x, gain, total, kind)[1].sum(axis=0))
        for part in own(norm_gradients_of(x, gain, total, kind)[0], P)
    ]
    mistakes = {
        "EPS is missing under the root": slip("no eps"),
        "dN_r was averaged over the ranks: its partial sums have to be added up": [
            (part / P, dgain.sum(axis=0) / P) for part in own(dx, P)
        ],
        "the gradient by the gain is of this rank's positions alone: add up the ranks'": [
            (part, share.sum(axis=0)) for part, share in zip(own(dx, P), own(dgain, P))
        ],
        "dN_r is a partial sum: what other ranks have of this rank's positions is missing": [
            (part, dgain_alone.sum(axis=0)) for part in own(dx_alone, P)
        ],
        "the gradient by the gain is the mean over the ranks, not the sum": [
            (part, dgain.sum(axis=0) / P) for part in own(dx, P)
        ],
        "dx_r leaves out that the row's root mean square depends on x, too": slip("no mean"),
        "dx_r leaves out the gain": slip("no gain"),
        "the gradient by the gain has the gain itself in it": slip("gain twice"),
        "the gradient by the gain is P times too large": [
            (part, P * dgain.sum(axis=0)) for part in own(dx, P)
        ],
    }
    if len(x) == P:  # a position each, so that shapes go together
        gathered = np.concatenate(dN)  # (P·L, D)
        pairs = [norm_gradients_of(0 * gathered + row, gain, gathered) for row in x]
        dgain = sum(share.sum(axis=0) for _, share in pairs)
        mistakes["the transpose of g's AllGather is a ReduceScatter, not an AllGather"] = [
            (dx, dgain) for dx, _ in pairs
        ]
    return mistakes


def check_gradients(answer, rng, P, L, D):
    x, gain, dN = rng.normal(size=(L, D)), rng.normal(size=D), rng.normal(size=(P, L, D))
    run = on(answer.norm_gradients, P)(per_rank(own(x, P)), gain, per_rank(dN))
    dx, dgain = norm_gradients_of(x, gain, dN.sum(axis=0))
    want = [(part, dgain.sum(axis=0)) for part in own(dx, P)]
    expect(run, want, gradients_by_hand(x, gain, dN, P) if P > 1 else {})
    return run


def test_gradients_of_a_norm_of_two_positions(answer):
    # but for EPS: n = [[0.2, 1.4], [1.4, -0.2]], dn = [[3, 2], [2, 8]], means of dn·n 1.7 and 0.6
    x, gain = np.array([[1.0, 7.0], [7.0, -1.0]]), np.array([1.0, 2.0])
    dN = np.array([[[1.0, 0.0], [2.0, 1.0]], [[2.0, 1.0], [0.0, 3.0]]])
    run = on(answer.norm_gradients, 2)(per_rank([x[:1], x[1:]]), gain, per_rank(dN))
    root = math.sqrt(25 + EPS)
    n, dn = x / root, np.array([[3.0, 2.0], [2.0, 8.0]])
    mean = np.array([[17.0], [6.0]]) / 2 / root  # of dn · n: 3·1 + 2·7 and 2·7 − 8·1
    dx = (dn - n * mean) / root
    dgain = np.array([3.0 * 1 + 2 * 7, 1 * 7 - 4 * 1]) / root
    expect(run, [(dx[:1], dgain), (dx[1:], dgain)], gradients_by_hand(x, gain, dN, 2))


def test_gradients_of_a_norm_on_any_number_of_ranks(answer, rng):
    for P in SIZES:
        check_gradients(answer, rng, P, L=6, D=5)


def test_gradients_send_one_reduce_scatter_and_a_vector(answer, rng):
    run = check_gradients(answer, rng, P=4, L=32, D=5)
    most = 3 * 8 * 32 * 5 // 4 + 3 * 8 * 5  # the gain's: (D,) to each other rank
    what = "more than one ReduceScatter of (L, D) and (D,) numbers to each rank travels"
    at_most(max(run.traffic.sent()), most, "bytes that a rank sends", what)


def product_by_hand(x, A, dZ, P):
    """{words: wrong answers}; A and dZ are lists of all ranks' own."""
    shares = [dz @ a.T for a, dz in zip(A, dZ)]
    dx = sum(shares)
    dA = [np.einsum("ld,lf->df", x, dz) for dz in dZ]
    short = [np.einsum("ld,lf->df", own(x, P)[r], own(dz, P)[r]) for r, dz in enumerate(dZ)]
    return {
        "dA_r is of this rank's positions alone: gather x once more": [*zip(own(dx, P), short)],
        "dA_r adds up products of other ranks' columns: gather x once more": [
            (part, sum(short)) for part in own(dx, P)
        ],
        "dx_r is what this rank's columns say of it alone": [
            (own(share, P)[r], dA[r]) for r, share in enumerate(shares)
        ],
        "dA_r was added up over the ranks, but each has other columns": [
            (part, sum(dA)) for part in own(dx, P)
        ],
        "the gradient by x is whole; a rank keeps its own positions": [(dx, each) for each in dA],
        "it is the mean of what the ranks say of x, not the sum": [*zip(own(dx / P, P), dA)],
    }


def check_product(answer, rng, P, L, D, F):
    x = rng.normal(size=(L, D))
    A = [rng.normal(size=(D, F // P)) for _ in range(P)]
    dZ = [rng.normal(size=(L, F // P)) for _ in range(P)]
    call = on(answer.gathered_product_gradients, P)
    run = call(per_rank(own(x, P)), per_rank(A), per_rank(dZ))
    dx = np.einsum("rlf,rdf->ld", np.stack(dZ), np.stack(A))
    want = [(part, np.einsum("ld,lf->df", x, dz)) for part, dz in zip(own(dx, P), dZ)]
    expect(run, want, product_by_hand(x, A, dZ, P) if P > 1 else {})
    return run


def test_gradients_of_a_gathered_product_by_hand(answer):
    x = np.array([[1.0, 2.0], [3.0, 4.0]])
    A = [np.array([[1.0], [0.0]]), np.array([[2.0], [1.0]])]
    dZ = [np.array([[1.0], [10.0]]), np.array([[2.0], [5.0]])]
    call = on(answer.gathered_product_gradients, 2)
    run = call(per_rank([x[:1], x[1:]]), per_rank(A), per_rank(dZ))
    want = [
        (np.array([[5.0, 2.0]]), np.array([[31.0], [42.0]])),
        (np.array([[20.0, 5.0]]), np.array([[17.0], [24.0]])),
    ]
    expect(run, want, product_by_hand(x, A, dZ, 2))


def test_gradients_of_a_gathered_product_on_any_number_of_ranks(answer, rng):
    for P in SIZES:
        check_product(answer, rng, P, L=6, D=5, F=12)


def test_a_gathered_product_sends_one_all_gather_and_one_reduce_scatter(answer, rng):
    run = check_product(answer, rng, P=4, L=8, D=6, F=12)
    sparing(run, 8 * 6, "more than x and the gradient by x travels, or one of them twice")


def dropped(x, p, draws):
    kept = np.zeros_like(x)
    kept[draws >= p] = x[draws >= p] / (1 - p)
    return kept


def dropout_by_hand(x, p, seed, P):
    draws = np.random.default_rng(seed).random(x.shape)
    share = np.random.default_rng(seed).random((len(x) // P, x.shape[1]))
    return {
        "every rank draws the same for its own positions: the mask repeats itself": [
            dropped(part, p, share) for part in own(x, P)
        ],
        "each rank draws with a seed of its own; one device draws all positions with one": [
            dropped(part, p, np.random.default_rng(seed + r).random(share.shape))
            for r, part in enumerate(own(x, P))
        ],
        "what is kept is not divided by 1 − p": own(np.where(draws >= p, x, 0.0), P),
        "dropped are the draws from p up, and they should be kept": own(
            np.where(draws < p, x / (1 - p), 0.0), P
        ),
        "what is kept is divided by p, not by 1 − p": own(np.where(draws >= p, x / p, 0.0), P),
        "the result is whole; a rank has its own positions": [dropped(x, p, draws)] * P,
    }


def check_dropout(answer, x, p, seed, P):
    run = on(answer.dropout_share, P)(per_rank(own(x, P)), p, seed)
    want = own(dropped(x, p, np.random.default_rng(seed).random(x.shape)), P)
    expect(run, want, dropout_by_hand(x, p, seed, P) if P > 1 else {})
    return run


def test_two_ranks_drop_out_what_one_device_would(answer, rng):
    x = np.arange(1.0, 25.0).reshape(4, 6)
    check_dropout(answer, x, 0.25, int(rng.integers(1000)), 2)


def test_dropout_on_any_number_of_ranks_without_messages(answer, rng):
    for P in SIZES:
        x, p = rng.normal(size=(12, 5)) + 4, float(rng.uniform(0.1, 0.4))
        run = check_dropout(answer, x, p, int(rng.integers(1000)), P)
        at_most(run.traffic.messages(), 0, "messages", "draws or positions are sent")


def kept_by_hand(s, b, h, a, t, kind, slip=None):
    """The bytes, array by array: (numbers, bytes of each, whether it lies between f and g)."""
    sbh, scores = s * b * h, b * a * s * s
    arrays = [(sbh, 2, False)] * 2  # inputs of the norms
    inputs = 4 if slip == "three inputs" else 2
    arrays += [(sbh, 2, False)] * inputs  # inputs of the pairs of products
    arrays += [(sbh, 2 if slip == "masks" else 1, False)] * 2  # masks of dropout
    arrays += [(sbh, 2, True)] * 4  # queries, keys, values, input of W_O
    if slip == "output outside":
        arrays[-1] = (sbh, 2, False)
    arrays += [((1 if slip == "h" else 4) * sbh, 2, True)] * 2  # input and output of GELU
    if slip != "no scores":
        outputs = 1 if slip == "one softmax" else 2
        arrays += [(scores, 2, True)] * outputs
        arrays += [(scores, 2 if slip == "masks" else 1, True)]
    if slip == "other kind":
        kind = "sequence" if kind == "tensor" else "tensor"
    total = 0.0
    for i, (numbers, width, inside) in enumerate(arrays):
        shared = inside or kind == "sequence"
        if (slip == "scores whole" and i >= 12) or (slip == "inside whole" and inside):
            shared = False
        if slip == "inputs whole" and 2 <= i < 4:
            shared = False
        total += numbers * width / (t if shared else 1)
    return total


ACTIVATION_SLIPS = {
    "the masks are counted with 2 bytes an element; they have 1": "masks",
    "the scores are left out": "no scores",
    "the scores after their dropout are left out": "one softmax",
    'with "sequence" inputs of products are cut, too: backward gathers them again': "inputs whole",
    "W_Q, W_K and W_V have one input in common, which is kept once": "three inputs",
    "the input of W_O lies between f and g": "output outside",
    "the input and the output of GELU are 4h wide": "h",
    "the scores are not cut, but each rank has its own heads": "scores whole",
    "what lies between f and g is cut, by either kind": "inside whole",
}


OF_KIND = {
    "tensor": '"tensor" cuts only what lies between f and g, not everything',
    "sequence": '"sequence" cuts everything, not only what lies between f and g',
}


def bytes_by_hand(*sizes_and_kind):
    """{words: wrong answers}."""
    slips = {**ACTIVATION_SLIPS, OF_KIND[sizes_and_kind[-1]]: "other kind"}
    return {words: kept_by_hand(*sizes_and_kind, slip) for words, slip in slips.items()}


def check_bytes(answer, *sizes):
    expect(answer.activation_bytes(*sizes), kept_by_hand(*sizes), bytes_by_hand(*sizes))


def test_bytes_of_a_tiny_block_by_hand(answer):
    sizes = 3, 1, 4, 2, 2
    got = {kind: answer.activation_bytes(*sizes, kind) for kind in ("sequence", "tensor")}
    # s·b·h = 12 numbers, a·s²·b = 18 scores: 10 · 12 + (24 · 12 + 5 · 18) / 2
    want = {"tensor": 309.0, "sequence": 249.0}
    exchanged = got["tensor"] == want["sequence"] and got["sequence"] == want["tensor"]
    for kind in ("tensor", "sequence"):
        mistakes = bytes_by_hand(*sizes, kind)
        if exchanged:
            mistakes = {"the two kinds are the wrong way round": got[kind]}
        expect(got[kind], want[kind], mistakes)


def test_bytes_of_blocks_of_any_size(answer, rng):
    for kind in ("tensor", "sequence", "tensor", "sequence"):
        t = int(rng.choice([2, 4, 8]))
        s, b = int(rng.integers(3, 50)), int(rng.integers(2, 9))
        check_bytes(
            answer, s, b, t * int(rng.integers(5, 40)), t * int(rng.integers(1, 4)), t, kind
        )


def test_bytes_of_a_block_of_gpt_3(answer):
    for t, kind in ((1, "tensor"), (8, "tensor"), (8, "sequence")):
        check_bytes(answer, 2048, 1, 12_288, 96, t, kind)


def sent_by_hand(nbytes, P, kind, slip=None):
    """Ring steps one by one: P − 1 of nbytes/P each, and as many again for an AllReduce."""
    steps = P if slip == "P steps" else 1 if slip == "one step" else P - 1
    ring = math.fsum([nbytes if slip == "whole" else nbytes / P] * steps)
    pairs = 1 if slip == "one pair" else 2
    calls = dict.fromkeys(("all_reduce", "all_gather", "reduce_scatter"), 0.0)
    if kind == "tensor":
        calls["all_reduce"] = 2 * 2 * pairs * ring
        return calls
    calls["all_gather"] = calls["reduce_scatter"] = 2 * pairs * ring
    if kind == "gathered again":
        again = {"not again": 0, "once again": 1, "twice again": 4}.get(slip, pairs)
        calls["all_gather"] += again * ring
    return calls


SENT_SLIPS = {
    "half is missing: there are two pairs, two ways, and an AllReduce is two halves": "one pair",
    "a ring takes P − 1 steps, not P": "P steps",
    "in each step of a ring a rank sends a P-th of the bytes, not all": "whole",
    "that is one step of a ring, and it takes P − 1": "one step",
    "gathered again takes one AllGather more for each pair of products": "not again",
    "gathered again takes two AllGathers more, one for each pair of products": "once again",
    "x is gathered again in the backward pass only": "twice again",
}


def check_sent(answer, nbytes, P, kind, want):
    mistakes = {words: sent_by_hand(nbytes, P, kind, slip) for words, slip in SENT_SLIPS.items()}
    expect(answer.sent_bytes(nbytes, P, kind), want, mistakes)


def test_bytes_that_four_ranks_send_by_hand(answer):
    zero = {"all_reduce": 0.0, "all_gather": 0.0, "reduce_scatter": 0.0}  # half of an AllReduce: 75
    check_sent(answer, 100.0, 4, "tensor", {**zero, "all_reduce": 600.0})
    want = {**zero, "all_gather": 300.0, "reduce_scatter": 300.0}
    check_sent(answer, 100.0, 4, "sequence", want)
    check_sent(answer, 100.0, 4, "gathered again", {**want, "all_gather": 450.0})


def test_bytes_that_any_number_of_ranks_sends(answer, rng):
    for kind in ("tensor", "sequence", "gathered again"):
        nbytes, P = float(rng.integers(100, 10**9)), int(rng.integers(3, 65))
        check_sent(answer, nbytes, P, kind, sent_by_hand(nbytes, P, kind))
