"""Exercise 06: beyond first order.

Notebook: 06_beyond_first_order.ipynb.

A table of derivatives is often too large to build. But one may ask what it does to a vector, and
with such products alone you write here: the Jacobian in the cheaper of the two modes, a test of
derivatives, the product of a Hessian with a vector (first with dual numbers, at last by hand for
a network), its largest curvature, and Newton's step.

Some functions get *functions* as arguments. Call them like any other: ``jvp(u)``, ``product(v)``.
All arrays are float64.
"""

import numpy as np


class Dual:
    """A number that carries its own slope: value + tangent ε, with ε² = 0, as in the notebook.

    It adds, subtracts and multiplies, with other dual numbers and with plain ones.
    """

    def __init__(self, value, tangent=0.0):
        self.value, self.tangent = value, tangent

    def __add__(self, other):
        other = lift(other)
        return Dual(self.value + other.value, self.tangent + other.tangent)

    def __mul__(self, other):
        other = lift(other)
        tangent = self.value * other.tangent + self.tangent * other.value
        return Dual(self.value * other.value, tangent)

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -lift(other)

    def __rsub__(self, other):
        return lift(other) - self


def lift(x):
    """Return x as a dual number: a plain number does not move, its tangent is 0."""
    return x if isinstance(x, Dual) else Dual(x)


def jacobian(jvp, vjp, n, m):
    """Return the Jacobian J of a function of n numbers that returns m numbers, in few passes.

    Use the mode that needs fewer calls; the other function must not be called at all. (If
    n equals m, take either.)

    Arguments:
        jvp: a function, forward mode: ``jvp(u)`` returns J u; shapes (n,) -> (m,).
        vjp: a function, reverse mode: ``vjp(v)`` returns Jᵀ v; shapes (m,) -> (n,).
        n: how many inputs the differentiated function has, an int.
        m: how many outputs, an int.

    Returns:
        J, shape (m, n): J[i, j] is the derivative of output i by input j.
    """
    raise NotImplementedError("ex06_beyond_first_order: jacobian")


def modes_agree(jvp, vjp, n, m):
    """Return whether ⟨v, Ju⟩ = ⟨Jᵀv, u⟩ holds for two random vectors u and v.

    Draw u and v yourself, and call each of the two functions once. The two numbers agree if they
    differ by less than a billionth of their size (nine digits). Mind that derivatives may be
    tiny, or huge: what counts is the difference *relative* to the numbers compared.

    Arguments:
        jvp: a function, claimed to give ``jvp(u)`` = J u; shapes (n,) -> (m,).
        vjp: a function, claimed to give ``vjp(v)`` = Jᵀ v; shapes (m,) -> (n,).
        n: length of u, an int.
        m: length of v, an int.

    Returns:
        A bool: True if both belong to the same J, False if one of them is wrong.
    """
    raise NotImplementedError("ex06_beyond_first_order: modes_agree")


def hvp(gradient, w, v):
    """Return the Hessian-vector product H v of a function whose gradient is given as code.

    How does the gradient change if w moves along v? Send dual numbers through it, once: forward
    mode over reverse mode. There is no step to choose, and the result is exact to rounding.

    Arguments:
        gradient: a function: it takes a list of n numbers, plain or ``Dual``, and returns a list
            of n numbers, the gradient there. It only adds, subtracts and multiplies. A number of
            the result that does not depend on w at all may be plain even if w is ``Dual``.
        w: where, shape (n,).
        v: the direction, shape (n,).

    Returns:
        H v, shape (n,).

    Example, f(w) = w[0]² w[1] at w = (3, 5), where H = [[10, 6], [6, 0]]:
        >>> def gradient(w):
        ...     return [2 * w[0] * w[1], w[0] * w[0]]
        >>> hvp(gradient, np.array([3.0, 5.0]), np.array([1.0, 2.0]))
        array([22.,  6.])
    """
    raise NotImplementedError("ex06_beyond_first_order: hvp")


def largest_curvature(product, v, rounds):
    """Return the largest curvature of a function and its direction, by power iteration.

    Each round scales v to length one, asks once for H v, reads the curvature c = ⟨v, Hv⟩, and
    goes on with H v as the new v. Largest means largest in size: c may be negative.

    Arguments:
        product: a function: ``product(v)`` returns H v, in the shape of v; for instance
            ``lambda v: hvp(gradient, w, v)``.
        v: the starting direction, of any shape (a matrix of weights has a matrix as direction);
            not of length one, in general.
        rounds: how many products to ask for, an int, at least 1.

    Returns:
        The tuple (c, v): the curvature read in the last round, a float, and the last product
        scaled to length one, in the shape of v. From there a later call can go on.
    """
    raise NotImplementedError("ex06_beyond_first_order: largest_curvature")


def newton_step(product, gradient, tolerance=1e-10):
    """Return Newton's step p, the solution of H p = −gradient, by conjugate gradients.

    H is known only by its products, and all its curvatures are positive. Start with p = 0. The
    rest, −gradient − H p, is what is still missing on the right side; the first direction d is
    the rest itself. Then, while the rest is longer than tolerance times the gradient::

        length = ⟨rest, rest⟩ / ⟨d, Hd⟩                 how far to go along d
        p ← p + length d
        after = rest − length Hd                        the new rest, with no further product
        d ← after + (⟨after, after⟩ / ⟨rest, rest⟩) d   the old direction lives on in the new one
        rest ← after

    Each turn may ask for one product only. If H has k different curvatures, k turns are enough.

    Arguments:
        product: a function: ``product(d)`` returns H d, in the shape of d.
        gradient: an array of any shape (⟨ , ⟩ is the sum of the products of all entries).
        tolerance: a float.

    Returns:
        p, in the shape of the gradient. Where the gradient is zero, the step is zero.
    """
    raise NotImplementedError("ex06_beyond_first_order: newton_step")


def network_hvp(W1, W2, V1, V2, X, Y):
    """Return the Hessian-vector product for a network of two layers, by hand.

    The risk of the network, and its gradient as reverse mode computes it, line by line::

        A  = tanh(X W1)                 (B, D2)
        E  = A W2 − Y                   (B, D3)
        risk = Σ E² / (2 B)             over all entries of E

        dE  = E / B                     (B, D3)
        dW2 = Aᵀ dE                     (D2, D3)
        dA  = dE W2ᵀ                    (B, D2)
        dZ  = dA ∘ (1 − A ∘ A)          (B, D2); ∘ multiplies entry by entry
        dW1 = Xᵀ dZ                     (D1, D2)

    Now let the weights move: W1 at speed V1, W2 at speed V2. Below each line write how fast its
    left side moves (the product rule, as forward mode does it). The speeds of dW1 and dW2 are
    the product. It costs about twice as much as the gradient, whatever the size of the Hessian.

    Arguments:
        W1, W2: the weights, shapes (D1, D2) and (D2, D3).
        V1, V2: the direction, in the shapes of W1 and W2.
        X: inputs, shape (B, D1).
        Y: targets, shape (B, D3).

    Returns:
        The tuple (HV1, HV2), the two parts of H v, in the shapes of W1 and W2.
    """
    raise NotImplementedError("ex06_beyond_first_order: network_hvp")
