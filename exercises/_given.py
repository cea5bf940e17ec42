"""Functions that exercises are given by name: each factory here builds one from plain values.

A test writes ``given("polynomial", [1.0, 2.0])``; the exercise's function receives what
``polynomial([1.0, 2.0])`` returns. It is built where the exercise runs.
"""

import itertools
import weakref

import numpy as np


class Refused(Exception):
    """Raised by a given function that is not used as it may be; its message says how."""


# Exercises 03 and 04: programs to be differentiated.


def formula(text):
    """Return the function that an expression stands for, such as "lambda x: x * np.sin(x)"."""
    return eval(text, {"np": np})


def formula_for_one_run(text):
    """Return the same, but it refuses to run a second time."""
    f, runs = formula(text), itertools.count(1)

    def run_once(*xs):
        if next(runs) > 1:
            raise Refused("f may run only once, and here it runs again: one run brings everything")
        return f(*xs)

    return run_once


def square_root(steps):
    """Return the Babylonian square root, a loop of so many steps that improve a guess."""

    def root(x):
        guess = x
        for _ in range(steps):
            guess = (guess + x / guess) / 2
        return guess

    return root


def repeated(text, times):
    """Return the function of x and y that replaces x by step(x, y) so many times."""
    step = formula(text)

    def program(x, y):
        for _ in range(times):
            x = step(x, y)
        return x

    return program


# Exercise 06: Jacobians and Hessians that are known only by what they do to a vector.


def jvp(jacobian, most=None):
    """Return u ↦ J u, (n,) -> (m,), which may be called ``most`` times (None: any number)."""
    return _at_most(most, lambda u: jacobian @ u, _of_a_mode("jvp", "vjp", jacobian, most))


def vjp(jacobian, most=None):
    """Return v ↦ Jᵀ v, (m,) -> (n,), which may be called ``most`` times (None: any number)."""
    return _at_most(most, lambda v: jacobian.T @ v, _of_a_mode("vjp", "jvp", jacobian, most))


def _of_a_mode(name, other, jacobian, most):
    m, n = jacobian.shape
    inputs, outputs = _count(n, "input"), _count(m, "output")
    if most == 0:
        return f"{name} was called, but with {inputs} and {outputs} {other} needs fewer calls"
    return f"{name} was called more than {'once' if most == 1 else f'{most} times'}"


def _count(number, what):
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def hessian_product(hessian):
    """Return v ↦ H v for v of any shape with n entries, in its shape; H is (n, n)."""
    return lambda v: (hessian @ np.reshape(v, -1)).reshape(np.shape(v))


def product_for_rounds(hessian, rounds):
    """Return the same, but it may be called once a round."""
    words = f"product was called more than {rounds} times: one product a round is enough"
    return _at_most(rounds, hessian_product(hessian), words)


def product_for_turns(hessian, turns):
    """Return the same, but it may be called once a turn, and once more because of rounding."""
    words = f"product was called {turns + 2} times: {turns} different curvatures take {turns} turns"
    return _at_most(turns + 1, hessian_product(hessian), f"{words}, of one product each")


def _at_most(most, f, words):
    called = 0

    def counted(x):
        nonlocal called
        called += 1
        if most is not None and called > most:
            raise Refused(words)
        return f(x)

    return counted


def valley_gradient():
    """Return the gradient of the valley (1 − w[0])² + 20 (w[1] − w[0]²)², as code."""

    def gradient(w):
        bend = w[1] - w[0] * w[0]
        return [-2 * (1 - w[0]) - 80 * w[0] * bend, 40 * bend]

    return gradient


def polynomial_gradient(factors, powers, most=None):
    """Return the gradient of Σ_t factors[t] Π_i w[i] ** powers[t, i], as code."""

    def gradient(w):
        slopes = [0.0] * len(w)
        for factor, exponents in zip(factors.tolist(), powers.tolist()):
            for i, exponent in enumerate(exponents):
                if exponent:
                    lowered = [power - (j == i) for j, power in enumerate(exponents)]
                    slopes[i] = slopes[i] + _monomial(factor * exponent, w, lowered)
        return slopes

    words = "gradient was called more than once: one call with dual numbers gives the whole product"
    return _at_most(most, gradient, words)


def _monomial(factor, w, exponents):
    for number, exponent in zip(w, exponents):
        for _ in range(exponent):
            factor = number * factor
    return factor


# Exercise 13: the smallest language model, one table, on a machine with little room.


def table_of_pairs(room):
    """Return (w, x, y) -> (loss, gradient) for a model that after token x gives the row w[x].

    w is (V, V); x and y are integers (B, L); a target y of -100 does not count. A token's loss is
    the squared distance from the row w[x] to the row that has 1 at y and 0 elsewhere, so the best
    row holds the share of each y after x. Loss and gradient are means over the tokens that count,
    NaN where there are none. More than ``room`` tokens at once do not fit and are refused.
    """

    def loss_and_gradient(w, x, y):
        if x.size > room:
            raise Refused(f"there is room for {room} tokens, not for {x.size}: one piece a call")
        x, y = x[y != -100], y[y != -100]
        if not x.size:
            return np.nan, np.full_like(w, np.nan)
        miss = w[x] - np.eye(len(w))[y]  # (n, V)
        gradient = np.zeros_like(w)
        np.add.at(gradient, x, 2 * miss)  # each token adds to its own row
        return float((miss**2).sum() / x.size), gradient / x.size

    return loss_and_gradient


# Exercise 16: a language model that remembers by a cache, and counts what goes into it.


def cached_model(table, room, length_of_prompt, n, stop):
    """Return (tokens, cache) -> (logits, cache) of a model that hears the whole text so far.

    table is (P, V, V): a token x at place i of the text adds the row table[i % P, x] to the scores
    of what comes next, and what tokens before it added counts half from then on. The cache is a
    tuple of what was added up and how many tokens that was.

    Calls must be those of a prefill in chunks of ``room`` tokens, then of a decode a token at a
    time, in which neither a stop token goes in nor the last of the n tokens chosen.
    """
    passed = 0  # tokens, in all calls

    def step(tokens, cache):
        nonlocal passed
        if type(tokens) is not list:
            kind = type(tokens).__name__
            raise Refused(f"step takes a list of tokens, not a value of type {kind}")
        left = length_of_prompt - passed
        if left > 0 and len(tokens) != min(room, left):
            raise Refused(
                f"the prompt goes in as chunks of room tokens: {left} of its tokens are left and "
                f"room is {room}, so the next call has {min(room, left)} tokens, not {len(tokens)}"
            )
        if left <= 0 and len(tokens) != 1:
            raise Refused(f"after the prompt one token goes in at a time, not {len(tokens)}")
        if left <= 0 and tokens[0] == stop:
            raise Refused("the text does not end with the stop token: it goes in, to ask for more")
        passed += len(tokens)
        if passed > length_of_prompt + n - 1:
            raise Refused("more tokens go in than needed: each goes in once, the last one never")
        heard, length = (np.zeros(table.shape[2]), 0) if cache is None else cache
        for token in tokens:
            heard = heard / 2 + table[length % len(table), token]
            length += 1
        return heard.copy(), (heard, length)

    return step


# Exercise 24: a device without room for all layers.


def product_on_a_device(room):
    """Return (x, w) -> x @ w on a device with room for the weights of so many layers at a time.

    Weights that somebody still holds take their room; those of this call count, too.
    """
    held = []  # weak references to the arrays that own the weights of earlier calls

    def product(x, w):
        whole = w
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        held[:] = [one for one in held if one() is not None and one() is not whole]
        if len(held) >= room:
            layers = "a layer" if room == 1 else f"{room} layers"
            raise Refused(
                f"there is room for the weights of {layers}, and those of layers that have run "
                "are still held: give each layer up after its product"
            )
        held.append(weakref.ref(whole))
        return x @ w

    return product
