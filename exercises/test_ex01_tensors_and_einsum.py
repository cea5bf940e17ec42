"""Tests of exercise 01: broadcasting and einsum."""

import math

import numpy as np

from minigrad.course.testing import expect


def whole(rng, *shape):
    """The numbers 1, 2, 3, ... as floats in random places, so that sums can be checked by hand."""
    return 1.0 + rng.permutation(math.prod(shape)).reshape(shape)


def by_index(terms, output, *operands):
    """The rule of einsum, one step for each combination of the letters' values."""
    size = {c: n for term, x in zip(terms, operands) for c, n in zip(term, x.shape)}
    total = np.zeros([size[c] for c in output])
    for values in np.ndindex(*size.values()):
        index = dict(zip(size, values))
        factors = [x[tuple(index[c] for c in term)] for term, x in zip(terms, operands)]
        total[tuple(index[c] for c in output)] += np.prod(factors)
    return total


def aligned_by_index(x, term, letters):
    """What align must give, element by element."""
    size = dict(zip(term, x.shape))
    out = np.empty([size.get(c, 1) for c in letters], x.dtype)
    for place in np.ndindex(*out.shape):
        index = dict(zip(letters, place))
        out[place] = x[tuple(index[c] for c in term)]
    return out


def test_a_missing_axis_and_an_axis_of_size_1_are_repeated(answer):
    mistake = "an axis of size 1 is stretched in one of the shapes only"
    expect(
        answer.broadcast_shape((4,), (3, 4)),
        (3, 4),
        mistakes={"the shapes are aligned at the left, not at the right": -2},
    )
    expect(answer.broadcast_shape((2, 1), (1, 6)), (2, 6), mistakes={mistake: (2, 1)})
    expect(answer.broadcast_shape((1, 6), (2, 1)), (2, 6), mistakes={mistake: (1, 6)})
    expect(answer.broadcast_shape((3, 4), ()), (3, 4))
    expect(answer.broadcast_shape((1, 1), (1,)), (1, 1))
    million = 10**6  # no memory holds an array of the common shape
    expect(
        answer.broadcast_shape((million, 1, 1), (million, 1), (million,)),
        (million, million, million),
    )


def test_shapes_are_aligned_at_the_right(answer):
    left = "the shapes are aligned at the left, not at the right"
    expect(
        answer.broadcast_shape((3,), (3, 4)),
        -1,
        mistakes={left: (3, 4), "the axis is counted from the left": 1},
    )
    expect(answer.broadcast_shape((3, 4), (3,)), -1)
    expect(answer.broadcast_shape((5, 1, 3), (4, 3)), (5, 4, 3), mistakes={left: -2})
    expect(answer.broadcast_shape((2, 3), (7, 1, 2, 3)), (7, 1, 2, 3), mistakes={left: -3})


def test_a_misfit_is_named_by_its_axis_counted_from_the_right(answer):
    left = "the axis is counted from the left"
    expect(answer.broadcast_shape((5, 4), (2, 3, 4)), -2, mistakes={left: 1})
    expect(
        answer.broadcast_shape((2, 6, 3, 4), (5, 6, 1, 1)),
        -4,
        mistakes={left: 0, "the axis is off by one: the last one is -1": -3},
    )
    expect(
        answer.broadcast_shape((2, 3, 4), (5, 2, 4)),
        -2,
        mistakes={"of several misfits the first is returned, not the last": -3},
    )


def test_an_axis_of_size_0_is_a_size_like_any_other(answer):
    largest = "the largest size is taken, but 1 beside 0 gives 0"
    expect(answer.broadcast_shape((1, 3), (0, 1)), (0, 3), mistakes={largest: (1, 3)})
    expect(answer.broadcast_shape((2, 0), (1,)), (2, 0), mistakes={largest: (2, 1)})
    expect(answer.broadcast_shape((3,), (0,)), -1, mistakes={"0 beside 3 is a misfit": (0,)})


def test_any_number_of_shapes_broadcast_together(answer, rng):
    first_two = "only the first two shapes count"
    expect(answer.broadcast_shape((1,), (1, 1), (5, 1)), (5, 1), mistakes={first_two: (1, 1)})
    expect(answer.broadcast_shape((2, 1), (6,), ()), (2, 6))
    expect(
        answer.broadcast_shape((2, 3), (4, 3), (2, 5)),
        -1,
        mistakes={
            "shapes are compared two at a time, and an earlier pair hides a misfit further right": (
                -2
            )
        },
    )
    expect(
        answer.broadcast_shape((2, 1), (1, 3), (2, 4)),
        -1,
        mistakes={first_two: (2, 3), "each shape is compared with the first one only": (2, 4)},
    )
    for _ in range(5):
        full = rng.integers(2, 9, size=4)
        shapes = [(1,), tuple(full[2:].tolist())]  # so that the first is never the answer
        for _ in range(3):
            cut = full[rng.integers(0, 4) :]
            shapes.append(tuple(np.where(rng.random(cut.shape) < 0.5, 1, cut).tolist()))
        expect(answer.broadcast_shape(*shapes), np.broadcast_shapes(*shapes))


def test_an_arrow_separates_operands_and_output(answer):
    expect(answer.parse("ik,kj->ij"), (["ik", "kj"], "ij"))
    expect(answer.parse("bhle,bhme->bhlm"), (["bhle", "bhme"], "bhlm"))
    expect(answer.parse("i,ij,j->ji"), (["i", "ij", "j"], "ji"))
    kept = "a space is taken for a letter"
    expect(
        answer.parse(" ik, kj -> ij"),
        (["ik", "kj"], "ij"),
        mistakes={kept: ([" ik", " kj "], " ij")},
    )
    expect(answer.parse("a, b"), (["a", "b"], "ab"), mistakes={kept: (["a", " b"], " ab")})
    expect(
        answer.parse("i k,k j->i j"),
        (["ik", "kj"], "ij"),
        mistakes={"spaces are removed at the ends only": (["i k", "k j"], "i j")},
    )


def test_the_output_may_be_empty_and_an_operand_too(answer):
    expect(
        answer.parse("ij->"),
        (["ij"], ""),
        mistakes={"an empty output is taken for a missing one": (["ij"], "ij")},
    )
    expect(
        answer.parse(",ij->ij"),
        (["", "ij"], "ij"),
        mistakes={"an operand without axes is dropped": (["ij"], "ij")},
    )


def test_without_an_arrow_the_letters_that_occur_once_are_kept(answer):
    each = "every letter is kept once, even if it occurs twice"
    expect(answer.parse("ij,jk"), (["ij", "jk"], "ik"), mistakes={each: (["ij", "jk"], "ijk")})
    expect(answer.parse("ii"), (["ii"], ""), mistakes={each: (["ii"], "i")})
    expect(answer.parse("iij,k"), (["iij", "k"], "jk"), mistakes={each: (["iij", "k"], "ijk")})


def test_without_an_arrow_the_output_is_sorted(answer):
    unsorted = "the letters stand in the order of the string, not sorted"
    expect(answer.parse("ba"), (["ba"], "ab"), mistakes={unsorted: (["ba"], "ba")})
    expect(
        answer.parse("vd,blv"), (["vd", "blv"], "bdl"), mistakes={unsorted: (["vd", "blv"], "dbl")}
    )
    expect(answer.parse("kB,ka"), (["kB", "ka"], "Ba"))


def test_without_an_arrow_the_ellipsis_comes_first(answer):
    lost = "the ellipsis is missing from the output"
    expect(answer.parse("...ba"), (["...ba"], "...ab"), mistakes={lost: (["...ba"], "ab")})
    expect(
        answer.parse("i...,j...i"),
        (["i...", "j...i"], "...j"),
        mistakes={lost: (["i...", "j...i"], "j")},
    )
    expect(
        answer.parse("...ik,kj->ij..."),
        (["...ik", "kj"], "ij..."),
        mistakes={"with an arrow the output stays as it is written": (["...ik", "kj"], "...ij")},
    )


def test_dots_become_digits_counted_from_the_right(answer):
    from_left = "the digits count from the left, not from the right"
    expect(
        answer.name_hidden_axes(["...i", "ij"], "...j", [3, 2]),
        (["10i", "ij"], "10j"),
        mistakes={from_left: (["01i", "ij"], "01j")},
    )
    expect(
        answer.name_hidden_axes(["a...b"], "b...a", [5]),
        (["a210b"], "b210a"),
        mistakes={from_left: (["a012b"], "b012a")},
    )


def test_hidden_axes_that_meet_get_the_same_name(answer):
    expect(
        answer.name_hidden_axes(["a...", "...b"], "...", [2, 4]),
        (["a0", "210b"], "210"),
        mistakes={
            "hidden axes are aligned at the left, not at the right": (["a2", "210b"], "210"),
            "each operand has digits of its own": (["a0", "321b"], "3210"),
            "the output hides as many axes as the first operand": (["a0", "210b"], "0"),
        },
    )
    expect(
        answer.name_hidden_axes(["...", "...i", "i..."], "i...", [3, 3, 2]),
        (["210", "10i", "i0"], "i210"),
        mistakes={
            "the output hides as many axes as the last operand": (["210", "10i", "i0"], "i0")
        },
    )


def test_dots_may_stand_for_no_axis(answer):
    expect(
        answer.name_hidden_axes(["...ij", "...j"], "...i", [2, 1]),
        (["ij", "j"], "i"),
        mistakes={
            "dots that hide nothing still get a name": (["0ij", "0j"], "0i"),
            "dots that hide nothing get all digits: text[-0:] is the whole text": (
                ["9876543210ij", "9876543210j"],
                "9876543210i",
            ),
        },
    )
    expect(answer.name_hidden_axes(["...i", "i..."], "...", [1, 3]), (["i", "i10"], "10"))
    expect(answer.name_hidden_axes(["ik", "kj"], "ij", [2, 2]), (["ik", "kj"], "ij"))


def test_a_letter_with_two_sizes_is_returned(answer):
    expect(answer.clashing_letter(["ik", "kj"], [(2, 3), (3, 4)]), None)
    expect(answer.clashing_letter(["ik", "jk"], [(2, 3), (3, 4)]), "k")
    expect(
        answer.clashing_letter(["i", "ij", "jk"], [(2,), (2, 5), (4, 3)]),
        "j",
        mistakes={"only the first two operands are compared": None},
    )
    expect(
        answer.clashing_letter(["i", "jk", "i"], [(2,), (5, 4), (3,)]),
        "i",
        mistakes={"only operands that stand side by side are compared": None},
    )
    expect(
        answer.clashing_letter(["ik", "zk", "iz"], [(2, 3), (5, 4), (6, 7)]),
        "k",
        mistakes={"the last clash is returned, not the first": "z"},
    )
    expect(answer.clashing_letter(["zb", "bb"], [(2, 3), (3, 4)]), "b")
    expect(
        answer.clashing_letter(["ii"], [(2, 3)]),
        "i",
        mistakes={"the sizes of a letter within one operand are not compared": None},
    )
    expect(answer.clashing_letter(["aba", "b"], [(2, 3, 2), (3,)]), None)
    expect(answer.clashing_letter(["aba", "b"], [(3, 2, 2), (2,)]), "a")
    expect(
        answer.clashing_letter(["ij", "kj"], [(2, 0), (4, 3)]),
        "j",
        mistakes={"a size of 0 is taken for a size that is not known yet": None},
    )


def test_a_letter_of_size_1_does_not_broadcast(answer):
    mistake = "a letter of size 1 is let through, but only hidden axes broadcast"
    expect(answer.clashing_letter(["ij", "jk"], [(2, 1), (3, 4)]), "j", mistakes={mistake: None})
    expect(answer.clashing_letter(["ij", "jk"], [(2, 3), (1, 4)]), "j", mistakes={mistake: None})
    expect(answer.clashing_letter(["ij", "jk"], [(2, 1), (1, 4)]), None)


def test_a_hidden_axis_of_size_1_fits_any_other(answer):
    mistake = "a hidden axis of size 1 counts as a clash"
    expect(answer.clashing_letter(["0i", "0i"], [(1, 3), (5, 3)]), None, mistakes={mistake: "0"})
    expect(
        answer.clashing_letter(["10i", "0j"], [(4, 7, 3), (1, 2)]), None, mistakes={mistake: "0"}
    )
    expect(answer.clashing_letter(["10i", "0j"], [(4, 7, 3), (2, 2)]), "0")
    expect(
        answer.clashing_letter(["10", "1i0", "0"], [(1, 1), (5, 2, 6), (4,)]),
        "0",
        mistakes={"a size of 1 hides that the other sizes clash": None},
    )
    expect(
        answer.clashing_letter(["0", "0", "0"], [(5,), (1,), (4,)]),
        "0",
        mistakes={"a later size of 1 overwrites the size that was known": None},
    )


def test_the_axes_come_in_the_order_of_the_letters(answer, rng):
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    expect(
        answer.align(x, "ij", "ji"),
        np.array([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]]),
        mistakes={
            "the axes keep their order in x": x,
            "the numbers are reshaped where axes should change places": x.reshape(3, 2),
        },
    )
    x = whole(rng, 2, 3, 4)
    expect(
        answer.align(x, "abc", "cab"),
        np.moveaxis(x, 2, 0),
        mistakes={
            "the axes are permuted the wrong way round": np.moveaxis(x, 0, 2),
            "the axes keep their order in x": x,
            "the numbers are reshaped where axes should change places": x.reshape(4, 2, 3),
        },
    )


def test_a_missing_letter_becomes_an_axis_of_size_1(answer, rng):
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    expect(
        answer.align(x, "ij", "kij"),
        np.array([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]]),
        mistakes={"the letters that x lacks get no axis": x},
    )
    x = whole(rng, 4, 3)
    expect(
        answer.align(x, "ld", "bdlh"),
        x.T[None, :, :, None],
        mistakes={
            "the letters that x lacks get no axis": x.T,
            "the axes of size 1 all come first": x.T[None, None],
            "the axes of size 1 all come last": x.T[..., None, None],
        },
    )
    expect(answer.align(np.array([7.0, 8.0, 9.0]), "v", "uv"), np.array([[7.0, 8.0, 9.0]]))


def test_a_repeated_letter_becomes_the_diagonal(answer, rng):
    S = np.array([[1.0, 2.0], [3.0, 4.0]])
    expect(
        answer.align(S, "ii", "i"),
        np.array([1.0, 4.0]),
        mistakes={
            "the diagonal is summed here, which is for einsum to do": np.array([5.0]),
            "the diagonal is not taken": S,
        },
    )
    S = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    expect(answer.align(S, "ii", "ai"), np.array([[1.0, 5.0, 9.0]]))
    x = whole(rng, 3, 2, 3)
    diagonal = np.array([x[0, :, 0], x[1, :, 1], x[2, :, 2]])  # (i, j)
    expect(
        answer.align(x, "iji", "kji"),
        diagonal.T[None],
        mistakes={
            "the axes come in the wrong order after the diagonal": diagonal[None],
            "the letters that x lacks get no axis": diagonal.T,
        },
    )
    x = whole(rng, 2, 2, 2)
    expect(answer.align(x, "aaa", "ab"), np.array([[x[0, 0, 0]], [x[1, 1, 1]]]))


def test_align_agrees_with_loops_and_keeps_the_dtype(answer, rng):
    size = dict(zip("abcd", rng.permutation([2, 3, 4, 1]).tolist()))
    for term, letters in [("bad", "dcba"), ("cbcb", "bcd"), ("dac", "acd"), ("abba", "cba")]:
        x = whole(rng, *(size[c] for c in term))
        expect(answer.align(x, term, letters), aligned_by_index(x, term, letters))
    x = np.arange(6, dtype=np.int64).reshape(2, 3)
    expect(
        answer.align(x, "ij", "jki"),
        x.T[:, None, :],
        mistakes={"the numbers become floats": x.T[:, None, :] * 1.0},
    )
    x = np.linspace(0, 1, 4, dtype=np.float32).reshape(2, 2)
    expect(answer.align(x, "ii", "i"), np.array([0, 1], np.float32))


def test_a_matrix_product_is_an_einsum(answer, rng):
    A = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    B = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]])
    expect(
        answer.einsum("ik,kj->ij", A, B),
        np.array([[7.0, 5.0], [16.0, 11.0]]),
        mistakes={"the output's axes are in the wrong order": np.array([[7.0, 16.0], [5.0, 11.0]])},
    )
    A, B = whole(rng, 3, 4), whole(rng, 4, 2)
    expect(
        answer.einsum("ik,kj->ji", A, B),
        (A @ B).T,
        mistakes={"the output's axes are in the wrong order": lambda: A @ B},
    )


def test_letters_that_the_output_lacks_are_summed(answer, rng):
    x, u, v = whole(rng, 2, 3, 4), whole(rng, 4), whole(rng, 4)
    expect(
        answer.einsum("abc->ca", x),
        x.sum(axis=1).T,
        mistakes={
            "the wrong letter is summed": lambda: x.sum(axis=2).T,
            "the letter is averaged, not summed": lambda: x.mean(axis=1).T,
        },
    )
    expect(answer.einsum("abc->", x), float(x.sum()))
    expect(answer.einsum("i,i->", u, v), float(sum(a * b for a, b in zip(u, v))))
    expect(answer.einsum("i,j->ij", u, v), np.array([[a * b for b in v] for a in u]))


def test_repeated_letters_walk_the_diagonal(answer, rng):
    S, x = whole(rng, 3, 3), whole(rng, 2, 2, 4)
    expect(
        answer.einsum("ii->i", S),
        np.array([S[0, 0], S[1, 1], S[2, 2]]),
        mistakes={"all of the matrix is summed, not its diagonal": lambda: S.sum(axis=1)},
    )
    expect(
        answer.einsum("ii->", S),
        float(S[0, 0] + S[1, 1] + S[2, 2]),
        mistakes={"all of the matrix is summed, not its diagonal": lambda: float(S.sum())},
    )
    expect(answer.einsum("iij,i->j", x, S[0, :2]), x[0, 0] * S[0, 0] + x[1, 1] * S[0, 1])


def test_any_number_of_operands_are_multiplied(answer, rng):
    u, v, S = whole(rng, 3), whole(rng, 4), whole(rng, 3, 4)
    first_two = "only the first two operands are multiplied"
    form = sum(u[i] * S[i, j] * v[j] for i in range(3) for j in range(4))
    expect(
        answer.einsum("i,ij,j->", u, S, v),
        float(form),
        mistakes={first_two: lambda: float(u @ S.sum(axis=1))},
    )
    Q, K, V = whole(rng, 5, 2), whole(rng, 4, 2), whole(rng, 4, 3)
    expect(
        answer.einsum("le,me,md->ld", Q, K, V),
        by_index(["le", "me", "md"], "ld", Q, K, V),
        mistakes={first_two: lambda: (Q @ K.T).sum(axis=1, keepdims=True) * np.ones((1, 3))},
    )
    w = whole(rng, 2)
    expect(
        answer.einsum("le,me,md,e,l->dm", Q, K, V, w, u[[0, 1, 2, 0, 1]]),
        by_index(["le", "me", "md", "e", "l"], "dm", Q, K, V, w, u[[0, 1, 2, 0, 1]]),
    )
    size = dict(zip("abcde", rng.permutation([1, 2, 3, 4, 5]).tolist()))
    for _ in range(8):
        terms = ["".join(rng.choice(list("abcde"), rng.integers(1, 4))) for _ in range(3)]
        present = sorted(set("".join(terms)))
        output = "".join(rng.permutation(present)[: rng.integers(0, len(present) + 1)])
        subscripts = f"{','.join(terms)}->{output}"
        operands = [whole(rng, *(size[c] for c in term)) for term in terms]
        want = np.einsum(subscripts, *operands)
        expect(answer.einsum(subscripts, *operands), want if output else float(want))


def test_a_string_without_an_arrow_is_understood(answer, rng):
    A, B = whole(rng, 2, 3), whole(rng, 3, 4)
    expect(answer.einsum("ba,ac", A, B), A @ B)
    expect(
        answer.einsum("ca,ab", A, B),
        (A @ B).T,
        mistakes={"the letters of the output are not sorted": lambda: A @ B},
    )


def test_dots_stand_for_any_number_of_batch_axes(answer, rng):
    W = whole(rng, 3, 5)
    for batch in [(), (4,), (2, 7)]:
        X = whole(rng, *batch, 3)
        expect(answer.einsum("...i,io->...o", X, W), np.einsum("...i,io->...o", X, W))
        expect(answer.einsum("io,...i", W, X), np.einsum("io,...i", W, X))
    X = whole(rng, 2, 4, 6, 3)
    expect(answer.einsum("b...d->d...b", X), np.transpose(X, (3, 1, 2, 0)))


def test_hidden_axes_broadcast_from_the_right(answer, rng):
    Q, K = whole(rng, 2, 3, 5, 4), whole(rng, 3, 6, 4)
    expect(answer.einsum("...le,...me->...lm", Q, K), Q @ np.swapaxes(K, -1, -2))
    Q, K = whole(rng, 2, 1, 5, 4), whole(rng, 3, 6, 4)
    expect(
        answer.einsum("...le,...me->...lm", Q, K),
        np.einsum("...le,...me->...lm", Q, K),
        mistakes={"a hidden axis of size 1 is not repeated": "0"},
    )
    u, x = whole(rng, 3), whole(rng, 2, 3)
    expect(answer.einsum("...,b...->...b", u, x), (u * x).T)


def test_a_clash_is_answered_with_the_letter(answer, rng):
    A, B = whole(rng, 2, 3), whole(rng, 3, 4)
    expect(answer.einsum("ik,jk->ij", A, B), "k")
    expect(answer.einsum("ii->i", A), "i")
    column = whole(rng, 2, 1)
    expect(
        answer.einsum("ij,jk->ik", column, B),
        "j",
        mistakes={
            "a letter of size 1 is let through, but only hidden axes broadcast": (
                lambda: column * B.sum(axis=0)
            )
        },
    )
    expect(answer.einsum("...i,...i->...", A, whole(rng, 4, 3)), "0")
    expect(answer.einsum("ik,kj->ij", A, B), A @ B)


def test_single_precision_and_whole_numbers_are_kept(answer):
    A = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    B = np.array([[1, 0], [0, 1], [2, 1]], np.float32)
    C = np.array([[7, 5], [16, 11]])
    floats = "the result is float64 whatever the operands are"
    expect(
        answer.einsum("ik,kj->ij", A, B),
        C.astype(np.float32),
        mistakes={floats: C.astype(np.float64)},
    )
    expect(
        answer.einsum("ik,kj->ij", A.astype(np.int64), B.astype(np.int64)),
        C.astype(np.int64),
        mistakes={floats: C.astype(np.float64)},
    )


def test_millions_of_products_take_no_loop_over_the_numbers(answer, rng):
    A = rng.integers(0, 3, (500, 1000)).astype(np.float32)
    B = rng.integers(0, 3, (1000, 8)).astype(np.float32)
    expect(answer.einsum("ik,kj->ij", A, B), A @ B)
