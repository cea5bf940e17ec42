"""Tests of exercise 05: the gradients of a linear layer.

The references never use a product of matrices: they go index by index, or they move one number
at a time. The loss is ⟨dY, Y⟩, so that its gradient with respect to Y is dY.
"""

from itertools import permutations

import numpy as np

from minigrad.course.testing import expect

BATCHES = [(), (4,), (2, 5)]  # batch axes: none, one, two
D1, D2, D3 = 3, 2, 4


def layer_by_index(X, W, b):
    Y = np.zeros((*X.shape[:-1], W.shape[1]))
    for place in np.ndindex(Y.shape):
        *row, j = place
        Y[place] = b[j] + sum(X[(*row, i)] * W[i, j] for i in range(W.shape[0]))
    return Y


def gradient_by_moving(loss, x, step):
    """Move each number of x by ±step and read the loss: exact where the loss is linear."""
    gradient = np.zeros(x.shape)
    for place in np.ndindex(x.shape):
        move = np.zeros(x.shape)
        move[place] = step
        gradient[place] = (loss(x + move) - loss(x - move)) / (2 * step)
    return gradient


def test_one_layer_by_hand(answer):
    X = np.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
    W = np.array([[1.0, 2.0], [3.0, 4.0]])
    b = np.array([10.0, 20.0])
    expect(
        answer.linear(X, W, b),
        np.array([[17.0, 30.0], [13.0, 24.0], [13.0, 26.0]]),
        mistakes={
            "the bias is left out": X @ W,
            "W is transposed, though Y = XW has no transpose": X @ W.T + b,
        },
    )


def test_the_layer_takes_any_number_of_batch_axes(answer, rng):
    W, b = rng.normal(size=(D1, D2)), rng.normal(size=D2)
    for batch in BATCHES:
        X = rng.normal(size=(*batch, D1))
        expect(
            answer.linear(X, W, b),
            layer_by_index(X, W, b),
            mistakes={"the bias is left out": X @ W},
        )


def test_the_layer_keeps_float32(answer, rng):
    X, W, b = (rng.normal(size=s).astype("float32") for s in [(4, D1), (D1, D2), (D2,)])
    expect(answer.linear(X, W, b), layer_by_index(X, W, b).astype("float32"))


def test_one_input_gradient_by_hand(answer):
    dY = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]])
    W = np.array([[1.0, 2.0], [3.0, 4.0]])
    expect(
        answer.input_gradient(dY, W),
        np.array([[1.0, 3.0], [2.0, 4.0], [0.0, 2.0]]),
        mistakes={"W stands where its transpose is due": dY @ W},
    )


def test_moving_one_input_at_a_time_gives_the_input_gradient(answer, rng):
    W, b = rng.normal(size=(D1, D2)), rng.normal(size=D2)
    for batch in [*BATCHES, (1, 1)]:
        X, dY = rng.normal(size=(*batch, D1)), rng.normal(size=(*batch, D2))
        dX = gradient_by_moving(lambda X, dY=dY: np.sum(dY * layer_by_index(X, W, b)), X, step=1.0)
        expect(answer.input_gradient(dY, W), dX)


def test_the_input_gradient_keeps_float32(answer, rng):
    dY, W = rng.normal(size=(4, D2)).astype("float32"), rng.normal(size=(D1, D2)).astype("float32")
    expect(answer.input_gradient(dY, W), np.einsum("bj,ij->bi", dY, W))


def test_one_bias_gradient_by_hand(answer):
    dY = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 60.0]])
    expect(
        answer.bias_gradient(dY),
        np.array([6.0, 90.0]),
        mistakes={
            "the gradient is not summed over the batch axes": dY,
            "it is averaged over the batch, not summed": np.array([2.0, 30.0]),
            "the wrong axis is summed: the last one stays": np.array([11.0, 22.0, 63.0]),
            "everything is summed, the last axis too": 96.0,
        },
    )


def test_the_bias_gradient_is_summed_over_every_batch_axis(answer, rng):
    for batch in [(4,), (2, 5), (3, 1, 2)]:
        dY = rng.normal(size=(*batch, D2))
        db = np.array([sum(dY[(*row, j)] for row in np.ndindex(batch)) for j in range(D2)])
        expect(
            answer.bias_gradient(dY),
            db,
            mistakes={
                "the gradient is not summed over the batch axes": dY,
                "only the first batch axis is summed": dY.sum(axis=0),
                "only the last batch axis is summed": dY.sum(axis=-2),
                "it is averaged over the batch, not summed": db / np.prod(batch),
            },
        )


def test_the_bias_gradient_of_a_single_input_and_of_a_batch_of_one(answer, rng):
    dY = rng.normal(size=D2)
    expect(
        answer.bias_gradient(dY[None, :]),
        dY,
        mistakes={"the batch of one is still there": dY[None, :]},
    )
    expect(
        answer.bias_gradient(dY),
        dY,
        mistakes={"without a batch axis there is nothing to sum": dY.sum()},
    )


def test_the_bias_gradient_keeps_float32(answer, rng):
    dY = rng.normal(size=(4, 5, D2)).astype("float32")
    expect(answer.bias_gradient(dY), np.einsum("blj->j", dY))


def test_one_weight_gradient_by_hand(answer):
    X = np.array([[1.0, 2.0], [0.0, 1.0], [3.0, 0.0]])
    dY = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, -1.0]])
    dW = np.array([[7.0, -3.0], [2.0, 1.0]])
    expect(
        answer.weight_gradient(X, dY),
        dW,
        mistakes={
            "this is the transpose of the gradient": dW.T,
            "it is averaged over the batch, not summed": dW / 3,
        },
    )


def test_moving_one_weight_at_a_time_gives_the_weight_gradient(answer, rng):
    X, W, b = rng.normal(size=(4, D1)), rng.normal(size=(D1, D2)), rng.normal(size=D2)
    dY = rng.normal(size=(4, D2))
    dW = gradient_by_moving(lambda W: np.sum(dY * layer_by_index(X, W, b)), W, step=1.0)
    expect(
        answer.weight_gradient(X, dY),
        dW,
        mistakes={
            "this is the transpose of the gradient": dW.T,
            "it is averaged over the batch, not summed": dW / 4,
        },
    )


def test_the_weight_gradient_is_summed_over_every_batch_axis(answer, rng):
    X, dY = rng.normal(size=(2, 5, D1)), rng.normal(size=(2, 5, D2))
    dW = sum(np.multiply.outer(X[row], dY[row]) for row in np.ndindex(2, 5))
    expect(
        answer.weight_gradient(X, dY),
        dW,
        mistakes={
            "this is one gradient per sequence, not summed over the first batch axis": (
                np.einsum("bli,blj->bij", X, dY)
            ),
            "only the first batch axis is summed": np.einsum("bli,blj->lij", X, dY),
            "the batch axes are not summed at all": np.einsum("bli,blj->blij", X, dY),
            "it is averaged over the batch, not summed": dW / 10,
            "it is averaged over the first batch axis, not summed": dW / 2,
            "this is the transpose of the gradient": dW.T,
        },
    )


def test_the_weight_gradient_of_a_single_input_and_of_three_batch_axes(answer, rng):
    X, dY = rng.normal(size=D1), rng.normal(size=D2)
    expect(
        answer.weight_gradient(X, dY),
        np.array([[X[i] * dY[j] for j in range(D2)] for i in range(D1)]),
    )
    X, dY = rng.normal(size=(2, 1, 3, D1)), rng.normal(size=(2, 1, 3, D2))
    expect(answer.weight_gradient(X, dY), np.einsum("abci,abcj->ij", X, dY))


def test_the_weight_gradient_keeps_float32(answer, rng):
    X, dY = (rng.normal(size=(4, 5, D)).astype("float32") for D in (D1, D2))
    expect(answer.weight_gradient(X, dY), np.einsum("bli,blj->ij", X, dY))


def other_orders(dX, dW, db):
    """Return the right gradients of a layer in all wrong orders, as mistakes."""
    _, *others = permutations({"dX": dX, "dW": dW, "db": db}.items())
    return {
        f"the order is (dX, dW, db), and this is ({', '.join(name for name, _ in other)})": tuple(
            gradient for _, gradient in other
        )
        for other in others
    }


def test_the_backward_pass_of_one_input_by_hand(answer):
    X, W, dY = np.array([2.0, 3.0]), np.array([[1.0, 0.0], [5.0, 4.0]]), np.array([10.0, 1.0])
    dX, dW, db = np.array([10.0, 54.0]), np.array([[20.0, 2.0], [30.0, 3.0]]), dY
    expect(
        answer.linear_backward(X, W, dY),
        (dX, dW, db),
        mistakes={
            **other_orders(dX, dW, db),
            "W stands where its transpose is due": (dY @ W, dW, db),
            "this is the transpose of the gradient of W": (dX, dW.T, db),
        },
    )


def test_the_backward_pass_agrees_with_moving_one_number_at_a_time(answer, rng):
    for batch in BATCHES:
        X, W, b = (rng.normal(size=s) for s in [(*batch, D1), (D1, D2), (D2,)])
        dY = rng.normal(size=(*batch, D2))

        def loss(X, W, b, dY=dY):
            return np.sum(dY * layer_by_index(X, W, b))

        dX = gradient_by_moving(lambda X, W=W, b=b: loss(X, W, b), X, step=1.0)
        dW = gradient_by_moving(lambda W, X=X, b=b: loss(X, W, b), W, step=1.0)
        db = gradient_by_moving(lambda b, X=X, W=W: loss(X, W, b), b, step=1.0)
        expect(
            answer.linear_backward(X, W, dY),
            (dX, dW, db),
            mistakes={
                **other_orders(dX, dW, db),
                "the bias gradient is not summed over the batch axes": (dX, dW, dY),
                "the gradients are averaged over the batch, not summed": (
                    dX,
                    dW / np.prod(batch),
                    db / np.prod(batch),
                ),
            },
        )


def two_layers_by_index(X, W1, b1, W2, b2):
    Z = layer_by_index(X, W1, b1)
    return layer_by_index(np.where(Z > 0, Z, 0.0), W2, b2)


def wrong_backward_passes(X, W1, b1, W2, b2, dY):
    """Return the answers of known mistakes, each a function without arguments."""
    Z = layer_by_index(X, W1, b1)
    A = np.maximum(Z, 0)
    dA = np.einsum("...k,jk->...j", dY, W2)

    def backward(slope, hidden=A):
        dZ = dA * slope
        x, dz, a, dy = (each.reshape(-1, each.shape[-1]) for each in (X, dZ, hidden, dY))
        return {
            "X": np.einsum("...j,ij->...i", dZ, W1),
            "W1": np.einsum("bi,bj->ij", x, dz),
            "b1": np.einsum("bj->j", dz),
            "W2": np.einsum("bj,bk->jk", a, dy),
            "b2": np.einsum("bk->k", dy),
        }

    return {
        "the way back leaves out the ReLU": lambda: backward(1),
        "the gradient is cut where it is negative itself, not where the ReLU's input was": (
            lambda: backward(dA > 0)
        ),
        "W2's gradient is taken with Z, from before the ReLU": lambda: backward(Z > 0, hidden=Z),
        "at exactly 0 the ReLU must not let the gradient through": lambda: backward(Z >= 0),
        "the gradient is multiplied by the ReLU's output, not by its slope": lambda: backward(A),
    }


def test_two_layers_by_hand(answer):
    X = np.array([[1.0, 2.0]])
    W1, b1 = np.array([[1.0, 0.0, 4.0], [1.0, -1.0, -2.0]]), np.zeros(3)  # Z = [3, -2, 0]
    W2, b2 = np.array([[7.0], [5.0], [-6.0]]), np.array([1.0])
    dY = np.array([[2.0]])
    expect(
        answer.two_layer_backward(X, W1, b1, W2, b2, dY),
        {
            "X": np.array([[14.0, 14.0]]),
            "W1": np.array([[14.0, 0.0, 0.0], [28.0, 0.0, 0.0]]),
            "b1": np.array([14.0, 0.0, 0.0]),
            "W2": np.array([[6.0], [0.0], [0.0]]),
            "b2": np.array([2.0]),
        },
        mistakes=wrong_backward_passes(X, W1, b1, W2, b2, dY),
    )


def test_two_layers_agree_with_moving_one_number_at_a_time(answer, rng):
    # Whole numbers with biases between them: no input of the ReLU is nearer to its kink than a
    # half, and no step of 1/16 can cross it. So the differences are exact. The largest batch comes
    # first: in a small one, two different mistakes may give the same numbers.
    for batch in reversed(BATCHES):
        X, W1, W2, dY = (
            rng.choice([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0], size=s)
            for s in [(*batch, D1), (D1, D2), (D2, D3), (*batch, D3)]
        )
        b1, b2 = rng.integers(-3, 3, D2) + 0.5, rng.integers(-3, 3, D3) + 0.5
        given_numbers = {"X": X, "W1": W1, "b1": b1, "W2": W2, "b2": b2}

        def loss(numbers, dY=dY):
            return np.sum(dY * two_layers_by_index(**numbers))

        want = {
            name: gradient_by_moving(
                lambda moved, name=name, numbers=given_numbers: loss({**numbers, name: moved}),
                number,
                step=1 / 16,
            )
            for name, number in given_numbers.items()
        }
        expect(
            answer.two_layer_backward(X, W1, b1, W2, b2, dY),
            want,
            mistakes=wrong_backward_passes(X, W1, b1, W2, b2, dY),
        )


def test_two_layers_keep_float32(answer, rng):
    shapes = {"X": (4, D1), "W1": (D1, D2), "b1": (D2,), "W2": (D2, D3), "b2": (D3,)}
    numbers = {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}
    numbers["b1"] = np.full(D2, 99, "float32")  # far above the kink: every slope is 1
    dY = rng.normal(size=(4, D3)).astype("float32")
    Z = layer_by_index(numbers["X"], numbers["W1"], numbers["b1"])  # (4, D2)
    want = {
        "X": np.einsum("bk,jk,ij->bi", dY, numbers["W2"], numbers["W1"]),
        "W1": np.einsum("bi,bk,jk->ij", numbers["X"], dY, numbers["W2"]),
        "b1": np.einsum("bk,jk->j", dY, numbers["W2"]),
        "W2": np.einsum("bj,bk->jk", Z, dY),
        "b2": np.einsum("bk->k", dY),
    }
    expect(
        answer.two_layer_backward(*numbers.values(), dY),
        {name: gradient.astype("float32") for name, gradient in want.items()},
    )
