"""Exercise 01: tensors and Einstein notation.

Notebook: 01_tensors_and_einsum.ipynb.

You write the rule of broadcasting, and then an `einsum` that can do what the notebook's
`slow_einsum` cannot: strings without `->`, the ellipsis, an answer that names the letter at fault,
and no loop over the numbers. Four small functions prepare it; the last puts them together.
This is the way of "...i,ij" with operands of the shapes (5, 3) and (3, 4):

    parse               ["...i", "ij"], "...j"      what the operands and the output are called
    name_hidden_axes    ["0i", "ij"], "0j"          a name for each axis behind the dots
    clashing_letter     None                        every letter has one size
    align               (5, 1, 3) and (1, 4, 3)     the axes in the order "0ji", ready to broadcast
    einsum              (5, 4, 3), then (5, 4)      multiply, then sum over i
"""

import math

import numpy as np


def broadcast_shape(*shapes):
    """The shape that arrays of these shapes broadcast to, or the axis at which they do not.

    The shapes are aligned at the right. An axis of size 1, or one that is missing, is repeated
    until it fits the others; any other difference is a misfit.

    Unlike in the notebook there may be any number of shapes, and nothing is raised: return the
    axis.

    Arguments:
        shapes: one or more tuples of ints, of any lengths; sizes may be 0.

    Returns: the common shape, a tuple of ints; or, if the shapes do not fit, a single int: the axis
    that does not, counted from the right (-1 is the last axis). If several do not, the last one.

        broadcast_shape((3, 4), (4,))       is (3, 4)
        broadcast_shape((3, 4), (3,))       is -1, since 4 and 3 do not fit
        broadcast_shape((2, 1), (6,), ())   is (2, 6)
    """
    raise NotImplementedError("ex01_tensors_and_einsum: broadcast_shape")


def parse(subscripts):
    """Split the string of an einsum into the names of the operands' axes and of the output's.

    Without an arrow the output is understood: first the ellipsis, if any operand has one, then the
    letters that occur exactly once in the whole string, sorted (as `sorted` sorts). With an arrow
    the output is what stands behind it, even if that is nothing. Spaces mean nothing.

    Arguments:
        subscripts: a str; every operand has at most one `...`.

    Returns: the tuple (terms, output), a list with one str for each operand, and a str.

        parse("ik,kj->ij")   is (["ik", "kj"], "ij")
        parse("ij,jk")       is (["ij", "jk"], "ik"): j occurs twice
        parse("...ba")       is (["...ba"], "...ab")
    """
    raise NotImplementedError("ex01_tensors_and_einsum: parse")


def name_hidden_axes(terms, output, ndims):
    """Replace every `...` by names for the axes that it stands for.

    The names are digits, which no subscript uses: the last axis behind the dots is called "0", the
    one before it "1", and so on. They count from the right because broadcasting aligns there: axes
    of different operands that meet get the same name. In the output the dots stand for as many
    axes as in the operand that hides most. (So digits count down from left to right.)

    Arguments:
        terms, output: a list of str and a str, as `parse` returns them.
        ndims: a list with the number of axes of each operand. At most 10 axes are hidden in an
            operand, perhaps none.

    Returns: the tuple (terms, output) without dots, a list of str, with one name for each axis, and
    a str.

        name_hidden_axes(["...i", "ij"], "...j", [3, 2])     is (["10i", "ij"], "10j")
        name_hidden_axes(["a...", "...b"], "...", [2, 4])    is (["a0", "210b"], "210")
    """
    raise NotImplementedError("ex01_tensors_and_einsum: name_hidden_axes")


def clashing_letter(terms, shapes):
    """The letter that has two different sizes, or None if every letter has one.

    Letters do not broadcast: 1 beside 3 is a clash, for it is nearly always a mistake. Names of
    hidden axes (digits) do: there, and only there, a size of 1 fits any other.

    Arguments:
        terms: a list of str without dots, one name for each axis.
        shapes: a list of tuples of ints, the operands' shapes; sizes may be 0.

    Returns: None, or a str of length 1: reading from left to right, the first name that turns up
    with a size other than before.

        clashing_letter(["ik", "kj"], [(2, 3), (3, 4)])     is None
        clashing_letter(["ik", "jk"], [(2, 3), (3, 4)])     is "k": its sizes are 3 and 4
        clashing_letter(["0i", "0i"], [(1, 3), (5, 3)])     is None
    """
    raise NotImplementedError("ex01_tensors_and_einsum: clashing_letter")


def align(x, term, letters):
    """The same numbers with one axis for each of `letters`, in that order, ready to broadcast.

    A letter that x lacks becomes an axis of size 1. A letter that stands twice in term (or more
    often) becomes one axis, along the diagonal: of these axes only the elements whose indices are
    equal are kept.

    Arguments:
        x: an array of any dtype.
        term: a str that names each axis of x.
        letters: a str without repetitions that holds every letter of term, and perhaps others.

    Returns: an array of x's dtype with len(letters) axes; a view or a copy, as you like.

        align(x, "ij", "jki")    for x of shape (2, 3) has shape (3, 1, 2), elements x[i, j]
        align(x, "ii", "ai")     for x of shape (3, 3) has shape (1, 3), elements x[i, i]
    """
    raise NotImplementedError("ex01_tensors_and_einsum: align")


def einsum(subscripts, *operands):
    """Multiply everything; sum over each letter that the output lacks.

    The whole rule of the notebook, for any number of operands, with letters repeated in one operand
    or in several, with or without `->`, with or without the ellipsis.

    Arguments:
        subscripts: a str, see `parse`.
        operands: one array for each term, of any dtypes.

    Returns: an array, one axis for each name in the output; for an output without axes a number (or
    an array without axes). float32 stays float32, whole numbers stay whole numbers. Unlike in the
    notebook nothing is raised: if a letter has two sizes, return the letter, a str, as
    `clashing_letter` finds it. A hidden axis that clashes is given by its digit.

    It may build the product over all letters before it sums. (The library contracts two operands
    at a time instead, and the end of the notebook says what that saves.) A loop over the single
    products is too slow for this exercise.
    """
    raise NotImplementedError("ex01_tensors_and_einsum: einsum")
