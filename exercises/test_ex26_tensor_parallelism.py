"""Tests of exercise 26: one model on P ranks, each with a slice of every matrix."""

import math

import numpy as np

from minigrad.course.testing import at_most, expect, per_rank

COLLECTIVES = ("all_reduce", "all_gather")
SIZES = (2, 3, 6, 1)


def on(function, size):
    return function.on_ranks(size, may_use=COLLECTIVES)


def columns(A, P):
    """[rank's columns], counted one by one."""
    width = A.shape[1] // P
    return [A[:, [r * width + i for i in range(width)]] for r in range(P)]


def rows(A, P):
    return [part.T for part in columns(A.T, P)]


def sparing(run, arrays, what):
    """Check that no rank has sent more than an AllReduce among 4 does, of so many numbers."""
    at_most(max(run.traffic.sent()), 2 * 8 * arrays, "bytes that a rank sends", what)


def slices_by_hand(A, B, P):
    own = [*zip(columns(A, P), rows(B, P))]
    mistakes = {
        "the slices are in turns, every P-th column, and not P stretches of neighbours": [
            (A[:, r::P], B[r::P]) for r in range(P)
        ],
        "rank r has slice number r, counted from 0": [own[r - 1] for r in range(P)],
    }
    if B.shape[1] % P == 0:
        mistakes["B is cut by columns: X A_r has F/P columns, and B_r needs as many rows"] = [
            *zip(columns(A, P), columns(B, P))
        ]
        if A.shape[0] % P == 0:
            mistakes["A is cut by rows: relu would bend partial sums of X A"] = [
                *zip(rows(A, P), columns(B, P))
            ]
    return mistakes


def test_two_ranks_cut_two_small_matrices(answer):
    A = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])  # (2, 4)
    B = np.arange(10.0, 18.0).reshape(4, 2)
    run = on(answer.own_slices, 2)(A, B)
    want = [(A[:, :2], B[:2]), (A[:, 2:], B[2:])]
    expect(run, want, slices_by_hand(A, B, 2))


def test_slices_of_matrices_of_any_size(answer, rng):
    for P, D, F, D2 in ((3, 5, 12, 4), (4, 4, 8, 8), (1, 3, 2, 5)):
        A, B = rng.normal(size=(D, F)), rng.normal(size=(F, D2))
        run = on(answer.own_slices, P)(A, B)
        mistakes = slices_by_hand(A, B, P) if P > 1 else {}
        expect(run, [*zip(columns(A, P), rows(B, P))], mistakes)


def hidden_of(X, A, bend=True):
    """relu(X A), number by number of the inner index."""
    Z = np.einsum("ld,df->lf", X, A)
    return np.where(Z > 0, Z, 0.0) if bend else Z


def mlp_by_hand(X, A, B, bias, P):
    """{words: wrong answers}."""
    whole = np.einsum("lf,fd->ld", hidden_of(X, A), B)
    parts = [np.einsum("lf,fd->ld", hidden_of(X, a), b) for a, b in zip(columns(A, P), rows(B, P))]
    added = np.maximum(sum(X @ a for a in columns(A, P)), 0.0)  # (L, F/P)
    bent = np.maximum(X @ A @ B, 0.0)
    return {
        "each rank has its partial sum of Y; g adds them up": [part + bias for part in parts],
        "the bias is in every partial sum, so P times in Y": [whole + P * bias] * P,
        "the bias is not added": [whole] * P,
        "it is the mean of the partial sums, not their sum": [whole / P + bias] * P,
        "relu is missing between the two products": [X @ A @ B + bias] * P,
        "relu comes after the second product, not between the two": [bent + bias] * P,
        "relu bends each rank's partial sum of Y, too": [
            sum(np.maximum(part, 0) for part in parts) + bias
        ]
        * P,
        "hidden units of different ranks are added up: X A_r is whole already": [
            added @ b + bias for b in rows(B, P)
        ],
        "hidden units of different ranks are added up; only Y is a sum over the ranks": [
            added @ sum(rows(B, P)) + bias
        ]
        * P,
    }


def run_mlp(answer, X, A, B, bias, P):
    return on(answer.mlp, P)(X, per_rank(columns(A, P)), per_rank(rows(B, P)), bias)


def test_two_ranks_compute_a_small_mlp(answer):
    X = np.array([[1.0, -1.0], [2.0, 0.0]])
    A = np.array([[1.0, 2.0], [2.0, 1.0]])
    B = np.array([[3.0, 1.0], [10.0, -5.0]])
    bias = np.array([100.0, 200.0])
    # X A = [[-1, 1], [2, 4]]; rank 0 has [[0, 0], [6, 2]], rank 1 [[10, -5], [40, -20]]
    want = np.array([[110.0, 195.0], [146.0, 182.0]])
    mistakes = mlp_by_hand(X, A, B, bias, 2)
    expect(run_mlp(answer, X, A, B, bias, 2), [want, want], mistakes)


def test_the_mlp_is_whole_on_any_number_of_ranks(answer, rng):
    for P in SIZES:
        X, A, B = rng.normal(size=(5, 7)), rng.normal(size=(7, 12)), rng.normal(size=(12, 7))
        bias = rng.normal(size=7)
        want = np.einsum("lf,fd->ld", hidden_of(X, A), B) + bias
        run = run_mlp(answer, X, A, B, bias, P)
        expect(run, [want] * P, mlp_by_hand(X, A, B, bias, P) if P > 1 else {})


def test_the_mlp_takes_one_all_reduce_of_the_result(answer, rng):
    X, A, B = rng.normal(size=(6, 5)), rng.normal(size=(5, 20)), rng.normal(size=(20, 5))
    bias = rng.normal(size=5)
    run = run_mlp(answer, X, A, B, bias, 4)
    want = np.einsum("lf,fd->ld", hidden_of(X, A), B) + bias
    expect(run, [want] * 4, mlp_by_hand(X, A, B, bias, 4))
    sparing(run, X.size, "more than the partial sums of Y travels, or they travel more than once")


def gradients_of(X, A, B, dY, slip=None):
    """(dX, dA, dB) of the whole, by sums over single indices."""
    hidden = hidden_of(X, A)
    dB = np.einsum("lf,ld->fd", hidden if slip != "before relu" else X @ A, dY)
    dZ = np.einsum("ld,fd->lf", dY, B)
    if slip != "no mask":
        dZ = np.where(X @ A > 0, dZ, 0.0)
    return np.einsum("lf,df->ld", dZ, A), np.einsum("ld,lf->df", X, dZ), dB


def gradients_per_rank(X, A, B, dY, P, slip=None):
    dX, dA, dB = gradients_of(X, A, B, dY, slip)
    if slip in ("times P", "exchanged"):
        dX, dA, dB = P * dX, P * dA, P * dB
    shares = [dX] * P
    if slip in ("no f", "exchanged"):
        pairs = zip(columns(A, P), rows(B, P))
        shares = [gradients_of(X, a, b, dY)[0] for a, b in pairs]
        shares = [P * share if slip == "exchanged" else share for share in shares]
    cut = [*zip(shares, columns(dA, P), rows(dB, P))]
    if slip == "slices added":
        cut = [(dX, sum(columns(dA, P)), sum(rows(dB, P)))] * P
    if slip == "mean":
        cut = [(dX / P, a, b) for _, a, b in cut]
    return cut


GRADIENT_SLIPS = {
    "dX is what this rank's slices say of it alone; f adds up what all say": "no f",
    "f and g are exchanged: dY is taken as it is, and the ranks' shares of dX are added up": (
        "exchanged"
    ),
    "dY was added up over the ranks: it is the gradient of one loss, not of P": "times P",
    "dA_r and dB_r were added up over the ranks, but each rank has another slice": "slices added",
    "dX is the mean of what the ranks say of it, not the sum": "mean",
    "the gradient passes relu where it was 0": "no mask",
    "dB_r is made of X A_r, not of relu(X A_r)": "before relu",
}


def check_gradients(answer, X, A, B, dY, P):
    run = on(answer.mlp_gradients, P)(X, per_rank(columns(A, P)), per_rank(rows(B, P)), dY)
    mistakes = {
        words: gradients_per_rank(X, A, B, dY, P, slip) for words, slip in GRADIENT_SLIPS.items()
    }
    expect(run, gradients_per_rank(X, A, B, dY, P), mistakes if P > 1 else {})
    return run


def test_gradients_of_a_small_mlp_on_two_ranks(answer):
    X, dY = np.array([[1.0, 2.0]]), np.array([[1.0, 10.0]])
    A = np.array([[1.0, 2.0, 0.0, 1.0], [1.0, -3.0, 1.0, 2.0]])
    B = np.array([[2.0, 1.0], [5.0, 5.0], [1.0, 0.0], [0.0, 2.0]])
    # X A = [[3, -4, 2, 5]] and dY Bᵀ = [[12, 55, 1, 20]], of which 55 does not pass relu
    run = on(answer.mlp_gradients, 2)(X, per_rank(columns(A, 2)), per_rank(rows(B, 2)), dY)
    dX = np.array([[32.0, 53.0]])  # of rank 0 [[12, 12]], of rank 1 [[20, 41]]
    want = [
        (dX, np.array([[12.0, 0.0], [24.0, 0.0]]), np.array([[3.0, 30.0], [0.0, 0.0]])),
        (dX, np.array([[1.0, 20.0], [2.0, 40.0]]), np.array([[2.0, 20.0], [5.0, 50.0]])),
    ]
    mistakes = {
        words: gradients_per_rank(X, A, B, dY, 2, slip) for words, slip in GRADIENT_SLIPS.items()
    }
    expect(run, want, mistakes)


def test_gradients_of_the_mlp_on_any_number_of_ranks(answer, rng):
    for P in SIZES:
        X, A, B = rng.normal(size=(5, 7)), rng.normal(size=(7, 12)), rng.normal(size=(12, 7))
        check_gradients(answer, X, A, B, rng.normal(size=(5, 7)), P)


def test_gradients_take_one_all_reduce_of_the_input(answer, rng):
    X, A, B = rng.normal(size=(6, 5)), rng.normal(size=(5, 20)), rng.normal(size=(20, 5))
    run = check_gradients(answer, X, A, B, rng.normal(size=(6, 5)), 4)
    sparing(
        run, X.size, "more than the shares of dX travels; the other gradients stay where they are"
    )


def head_of(Q, K, V, scale, causal=True):
    """(L, H): the result of one head, position by position."""
    Y = np.zeros(V.shape)
    for i in range(len(Q)):
        scores = [Q[i] @ K[j] / scale for j in range(i + 1 if causal else len(Q))]
        weights = [math.exp(score - max(scores)) for score in scores]
        Y[i] = sum(w * V[j] for j, w in enumerate(weights)) / sum(weights)
    return Y


def heads_of(X, W_Q, W_K, W_V, n_h, scale=None, causal=True, in_turns=False):
    """(L, D): the heads' results side by side."""
    D = X.shape[1]
    H = D // n_h
    Y = np.zeros(X.shape)
    for head in range(n_h):
        own = slice(head, None, n_h) if in_turns else slice(head * H, (head + 1) * H)
        QKV = (X @ W[:, own] for W in (W_Q, W_K, W_V))
        Y[:, own] = head_of(*QKV, scale or math.sqrt(H), causal)
    return Y


def mixed_up(X, W_Q, W_K, W_V, W_O, n_h, P, there, back):
    """Y if axes are not swapped before the heads (``there``) or behind them (``back``)."""
    (L, D), heads, shares = X.shape, n_h // P, []
    for *W, out in zip(*(columns(W, P) for W in (W_Q, W_K, W_V)), rows(W_O, P)):
        QKV = [(X @ w).reshape(L, heads, -1).swapaxes(0, 1) for w in W]
        if there:
            QKV = [(X @ w).reshape(heads, L, -1) for w in W]
        Y = np.stack([head_of(*head, math.sqrt(D // n_h)) for head in zip(*QKV)])
        shares.append((Y if back else Y.swapaxes(0, 1)).reshape(L, -1) @ out)
    return sum(shares)


def attention_by_hand(X, W_Q, W_K, W_V, W_O, n_h, P):
    """{words: wrong answers}."""
    D, W = X.shape[1], (W_Q, W_K, W_V)
    right, H = heads_of(X, *W, n_h), D // n_h
    every = lambda heads: [heads @ W_O] * P
    mixed = lambda there, back: [mixed_up(X, *W, W_O, n_h, P, there, back)] * P
    mistakes = {
        "each rank has the share of its own heads; W_O adds up all heads, so g adds up the ranks": [
            own @ out for own, out in zip(columns(right, P), rows(W_O, P))
        ],
        "positions see those that come after them": every(heads_of(X, *W, n_h, causal=False)),
        "scores are divided by √D; it is √H, the width of a head": every(
            heads_of(X, *W, n_h, math.sqrt(D))
        ),
        "scores are divided by √(D/P); it is √H, the width of a head": every(
            heads_of(X, *W, n_h, math.sqrt(D // P))
        ),
        "scores are not divided by √H": every(heads_of(X, *W, n_h, 1.0)),
        "a head has every n_h-th column, and not H neighbours": every(
            heads_of(X, *W, n_h, in_turns=True)
        ),
        "the n_h/P heads of a rank are taken as one": every(heads_of(X, *W, P, math.sqrt(H))),
        "the n_h/P heads of a rank are taken as one, as wide as all": every(heads_of(X, *W, P)),
        "(L, D/P) is reshaped to (heads, L, H), which mixes positions and heads: "
        "reshape to (L, heads, H), then swap the axes": mixed(True, True),
        "(L, D/P) is reshaped to (heads, L, H), which mixes positions and heads; "
        "there reshape to (L, heads, H), then swap the axes": mixed(True, False),
        "(heads, L, H) is reshaped to (L, D/P), which mixes positions and heads: "
        "first swap the axes": mixed(False, True),
        "it is the mean over the ranks, not the sum": [right @ W_O / P] * P,
    }
    if H % P == 0:
        mistakes["the columns of a rank are cut into n_h heads; a rank has n_h/P"] = every(
            heads_of(X, *W, n_h * P)
        )
    return mistakes


def run_attention(answer, X, W, n_h, P):
    want = heads_of(X, *W[:3], n_h) @ W[3]
    shares = [per_rank(columns(w, P)) for w in W[:3]]
    run = on(answer.attention, P)(X, *shares, per_rank(rows(W[3], P)), n_h)
    expect(run, [want] * P, attention_by_hand(X, *W, n_h, P) if P > 1 else {})
    return run


def check_attention(answer, rng, L, D, n_h, P):
    X = rng.normal(size=(L, D))
    W = [rng.normal(size=(D, D)) / math.sqrt(D) for _ in range(4)]
    return run_attention(answer, X, W, n_h, P)


def test_attention_of_four_heads_on_two_ranks(answer, rng):
    X = rng.permutation(np.arange(-6.0, 6.0)).reshape(3, 4) / 5
    W = [rng.permutation(np.arange(-8.0, 8.0)).reshape(4, 4) / 10 for _ in range(4)]
    run_attention(answer, X, W, 4, 2)


def test_attention_with_several_heads_on_a_rank(answer, rng):
    for n_h, P in ((6, 2), (6, 3), (4, 4), (3, 1)):
        check_attention(answer, rng, L=5, D=12, n_h=n_h, P=P)


def test_attention_takes_one_all_reduce_of_the_result(answer, rng):
    run = check_attention(answer, rng, L=4, D=16, n_h=8, P=4)
    sparing(run, 4 * 16, "it reads other ranks' heads, or the partial sums travel more than once")


def embedding_by_hand(ids, table, P):
    width, parts = len(table) // P, rows(table, P)
    index = [ids - r * width for r in range(P)]
    inside = [(i >= 0) & (i < width) for i in index]
    first = [part[np.where(own, i, 0)] for part, own, i in zip(parts, inside, index)]
    clipped = [part[np.clip(i, 0, width - 1)] for part, i in zip(parts, index)]
    right = table[ids]
    wrapped = [part[np.minimum(i, width - 1) % width] for part, i in zip(parts, index)]
    before = [np.where((i < width)[:, None], row, 0.0) for row, i in zip(wrapped, index)]
    return {
        "it is the mean over the ranks, not the sum": [right / P] * P,
        "an index below 0 counts from the end: words of other ranks should give zeros": [
            sum(before)
        ]
        * P,
        "words of other ranks give this rank's first row: they should give zeros": [sum(first)] * P,
        "words of other ranks give this rank's first or last row: they should give zeros": [
            sum(clipped)
        ]
        * P,
        "the words are not counted from this rank's first one": [sum(p[ids % width] for p in parts)]
        * P,
        "each rank has the rows of its own words alone; g adds them up": [
            np.where(own[:, None], found, 0.0) for own, found in zip(inside, first)
        ],
    }


def test_two_ranks_look_up_three_tokens(answer):
    table = np.arange(1.0, 13.0).reshape(6, 2)
    ids = np.array([4, 1, 4])
    want = np.array([[9.0, 10.0], [3.0, 4.0], [9.0, 10.0]])
    run = on(answer.embedding, 2)(ids, per_rank(rows(table, 2)))
    expect(run, [want, want], embedding_by_hand(ids, table, 2))


def test_tokens_of_any_rank_are_looked_up(answer, rng):
    for P in SIZES:
        table = rng.normal(size=(12, 3))
        ids = rng.permutation(np.append(np.arange(12), rng.integers(0, 12, 5)))
        run = on(answer.embedding, P)(ids, per_rank(rows(table, P)))
        expect(run, [table[ids]] * P, embedding_by_hand(ids, table, P) if P > 1 else {})


def test_one_all_reduce_looks_up_all_tokens_whose_ever_they_are(answer, rng):
    table, ids = rng.normal(size=(80, 3)), rng.permutation(np.arange(20, 40))[:6]
    run = on(answer.embedding, 4)(ids, per_rank(rows(table, 4)))
    expect(run, [table[ids]] * 4, embedding_by_hand(ids, table, 4))
    sparing(run, 6 * 3, "other ranks' rows of the table travel, not only those of the tokens")
    calls = sum(run.called(name)[0] for name in COLLECTIVES)
    at_most(calls, 1, "calls of collectives by a rank", "one AllReduce a token; one does for all")


def loss_of(Z, targets, P, slip=None):
    """[(loss, dZ_r) of each rank], token by token; ``slip`` names a mistake."""
    n, V = Z.shape
    width, losses, grad = V // P, [], np.zeros((n, V))
    for i, (z, target) in enumerate(zip(Z, targets)):
        top = max(z)
        e = np.array([math.exp(value - top) for value in z])
        losses.append(math.log(math.fsum(e)) - (z[target] - top))
        grad[i] = e / math.fsum(e)
        if slip == "own softmax":
            for own in np.split(grad[i], P):
                own /= max(math.fsum(own), 1e-300)
        if slip == "every rank":
            grad[i, target % width :: width] -= 1
        elif slip != "no target":
            grad[i, target] -= 1
    loss = math.fsum(losses) / (1 if slip in ("sum", "sum of losses") else n)
    grad = grad if slip in ("sum", "gradient of the sum") else grad / n
    if slip in ("times P", "over P"):
        grad = grad * P if slip == "times P" else grad / P
    return [(loss, part) for part in columns(grad, P)]


LOSS_SLIPS = {
    "the softmax is over this rank's words alone, not over all": "own softmax",
    "the target is taken off on every rank, not only where its word is": "every rank",
    "the gradient is the softmax alone, without the target": "no target",
    "the losses are added up, not averaged over the tokens": "sum",
    "the loss is a mean, so its gradient has to be divided by the number of tokens": (
        "gradient of the sum"
    ),
    "the gradient is P times too large: all ranks have the same loss, which counts once": "times P",
    "the gradient is divided by P: it is this rank's part, not a mean over ranks": "over P",
    "the loss is the sum of the tokens' losses, not their mean": "sum of losses",
}


def loss_on_ranks(Z, targets, P, slip):
    """[(loss, dZ_r) of each rank] with a mistake between the ranks."""
    parts, n, every = columns(Z, P), len(Z), np.arange(len(Z))
    words = Z.shape[1] // P
    inside = [targets // words == r for r in range(P)]
    m = Z.max(axis=1)
    if slip == "sum of largest":
        m = sum(part.max(axis=1) for part in parts)
    if slip == "one largest":
        m = np.full(n, Z.max())
    m = [part.max(axis=1) if "own largest" in slip else m for part in parts]
    with np.errstate(all="ignore"):
        E = [np.exp(part - top[:, None]) for part, top in zip(parts, m)]
        total = [e.sum(axis=1) for e in E]
        if slip != "own total":
            total = [sum(total)] * P
        place = [targets % words if "same place" in slip else targets % words * i for i in inside]
        found = [part[every, i] for part, i in zip(parts, place)]
        if "no mask" not in slip:
            found = [z * i for z, i in zip(found, inside)]
        if slip == "m once":
            m = [np.zeros(n)] * P
        if "m of all" in slip:  # taken off each rank's logit, whoever has the word
            found, m = [z - top for z, top in zip(found, m)], [np.zeros(n)] * P
        if "m of one" in slip:  # taken off where the word is
            found = [z - top * i for z, top, i in zip(found, m, inside)]
            m = [np.zeros(n)] * P
        if "own logit" not in slip:
            found = [sum(found)] * P
        loss = [float((np.log(t) + top - z).mean()) for t, top, z in zip(total, m, found)]
        offset = [0 if "everywhere" in slip else r * words for r in range(P)]
        index = targets % words if "everywhere" in slip else targets
        onehot = [np.arange(words) == (index - first)[:, None] for first in offset]
        dZ = [(e / t[:, None] - o) / n for e, t, o in zip(E, total, onehot)]
    return [*zip(loss, [sum(dZ)] * P if slip == "dZ added" else dZ)]


RANK_SLIPS = {
    'the ranks\' largest were added up: all_reduce(x, "max") takes the largest': "sum of largest",
    "one maximum for all tokens: each token needs the largest of its own logits": "one largest",
    "the largest of this rank's words was taken off, not that of all words": "own largest",
    "the largest of this rank's words was taken off, not that of all": "own largest, m of one",
    "the sum of exp is over this rank's words alone: add up the ranks'": "own total",
    "every rank adds a logit for the target; those that do not have its word should give 0": (
        "no mask"
    ),
    "every rank adds a logit for the target; only that which has its word should": (
        "no mask, m of all"
    ),
    "every rank adds a logit for the target, and those without its word should give 0": (
        "no mask, same place"
    ),
    "every rank has a word for the target, but only one of them has the target's": (
        "no mask, same place, everywhere"
    ),
    "the largest is taken off on every rank, so P times": "m of all",
    "the largest was taken off before exp, and is missing in the loss": "m once",
    "the target's logit is known to one rank alone: add up the ranks'": "own logit",
    "the target's logit is known to one rank alone; add up what the ranks have": (
        "own logit, m of one"
    ),
    "gradients of other words were added up: dZ_r is of this rank's words": "dZ added",
}


def loss_mistakes(Z, targets, P):
    """{words: wrong answers}."""
    slips = {words: loss_of(Z, targets, P, slip) for words, slip in LOSS_SLIPS.items()}
    ranks = {words: loss_on_ranks(Z, targets, P, slip) for words, slip in RANK_SLIPS.items()}
    return slips | ranks


def check_loss(answer, Z, targets, P):
    run = on(answer.cross_entropy, P)(per_rank(columns(Z, P)), targets)
    mistakes = loss_mistakes(Z, targets, P)
    with np.errstate(all="ignore"):
        E = np.exp(Z)
        p = E / E.sum(axis=1, keepdims=True)
        loss = float((np.log(E.sum(axis=1)) - Z[np.arange(len(Z)), targets]).mean())
    onehot = np.arange(Z.shape[1]) == targets[:, None]
    if not math.isfinite(loss):
        mistakes["exp of a large logit is infinite: take off the largest of all first"] = [
            (loss, part) for part in columns((p - onehot) / len(Z), P)
        ]
    expect(run, loss_of(Z, targets, P), mistakes if P > 1 else {})
    return run


def test_the_loss_of_two_tokens_of_four_words(answer):
    Z, targets = np.log([[1.0, 2.0, 3.0, 4.0], [5.0, 1.0, 2.0, 2.0]]), np.array([2, 0])
    run = on(answer.cross_entropy, 2)(per_rank(columns(Z, 2)), targets)
    loss = (math.log(10 / 3) + math.log(10 / 5)) / 2
    # half of softmax − onehot: [0.1, 0.2, 0.3 − 1, 0.4] and [0.5 − 1, 0.1, 0.2, 0.2]
    want = [
        (loss, np.array([[0.05, 0.1], [-0.25, 0.05]])),
        (loss, np.array([[-0.35, 0.2], [0.1, 0.1]])),
    ]
    expect(run, want, loss_mistakes(Z, targets, 2))


def test_the_loss_of_words_cut_among_any_number_of_ranks(answer, rng):
    for P in SIZES:
        Z, targets = 2 * rng.normal(size=(5, 12)), rng.integers(0, 12, 5)
        check_loss(answer, Z, targets, P)


def test_the_loss_of_large_logits_is_finite(answer, rng):
    Z, targets = 3 * rng.normal(size=(4, 9)), rng.integers(0, 9, 4)
    Z[:, 3:6] += 1000.0  # the largest are on rank 1
    targets[0] = 4
    check_loss(answer, Z, targets, 3)


def test_the_largest_logit_is_that_of_the_token(answer, rng):
    Z, targets = 3 * rng.normal(size=(4, 9)), rng.integers(0, 9, 4)
    Z[1] -= 1000.0
    Z[2, 3:] += 1000.0  # large on two ranks
    check_loss(answer, Z, targets, 3)


def test_the_loss_sends_three_numbers_a_token(answer, rng):
    Z, targets = rng.normal(size=(6, 80)), rng.integers(0, 80, 6)
    run = check_loss(answer, Z, targets, 4)
    most = 3 * 3 * 8 * len(Z)  # to each of 3 others
    at_most(max(run.traffic.sent()), most, "bytes that a rank sends", "the logits are gathered")


MORE = "more than two numbers a rank travel to each other rank"


def likeliest_by_hand(z, P):
    parts = z.reshape(P, -1)
    best = [int(part.argmax()) for part in parts]
    winner = int(parts.max(axis=1).argmax())
    width = parts.shape[1]
    last = len(z) - 1 - int(z[::-1].argmax())
    equal = [r * width + b for r, b in enumerate(best) if z[r * width + b] == z.max()]
    return {
        "of ranks with the same logit the numbers of their words are added up": [sum(equal)] * P,
        "words are counted from the rank's first one, not from word 0": [best[winner]] * P,
        "each rank chooses among its own words": [r * width + best[r] for r in range(P)],
        "the rank with the best word is returned, not the word": [winner] * P,
        "of several with the same logit it is the last, not the first": [last] * P,
        "the largest logit of all is on one rank, its number on another": [
            (winner + 1) % P * width + best[(winner + 1) % P]
        ]
        * P,
    }


def test_two_ranks_choose_among_four_words(answer):
    z = np.array([1.0, 3.0, 2.0, 7.0])
    run = on(answer.likeliest, 2)(per_rank(z.reshape(2, 2)))
    expect(run, [3, 3], likeliest_by_hand(z, 2))


def test_the_likeliest_word_of_any_rank(answer, rng):
    for P in SIZES:
        for word in (11, 7, int(rng.integers(1, 12))):
            z = rng.normal(size=12)
            z[word] = 5.0
            run = on(answer.likeliest, P)(per_rank(z.reshape(P, -1)))
            expect(run, [word] * P, likeliest_by_hand(z, P) if P > 1 else {})


def test_of_equally_likely_words_the_first_is_chosen(answer, rng):
    z = -rng.random(12)
    z[[5, 7, 10]] = 2.0
    run = on(answer.likeliest, 3)(per_rank(z.reshape(3, -1)))
    expect(run, [5] * 3, likeliest_by_hand(z, 3))


def test_a_choice_sends_two_numbers_to_each_rank(answer, rng):
    z = rng.normal(size=80)
    run = on(answer.likeliest, 4)(per_rank(z.reshape(4, -1)))
    expect(run, [int(z.argmax())] * 4, likeliest_by_hand(z, 4))
    at_most(max(run.traffic.sent()), 3 * 2 * 8, "bytes that a rank sends", MORE)
