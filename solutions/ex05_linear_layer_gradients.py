"""Exercise 05: the gradients of a linear layer.

Notebook: 05_linear_layer_gradients.ipynb.

You write the layer Y = XW + b, then the gradients of a loss with respect to X, b and W, given
its gradient with respect to Y. The last two functions put them together: the backward pass of
one layer, and of two layers with a ReLU between them.

``...`` in a shape stands for the batch axes: none at all (a single input), one (a batch), two
(sequences of positions) or more. Your functions must work for every number of them.

The dtype is kept: all inputs of one call have the same dtype, and what you return has it too.
"""

import numpy as np


def linear(X, W, b):
    """Return the output of a linear layer, Y = XW + b, for every input in X.

    Arguments:
        X: inputs, shape (..., D1).
        W: weights, shape (D1, D2).
        b: bias, shape (D2,).

    Returns:
        Y, shape (..., D2).
    """
    ### BEGIN SOLUTION
    return X @ W + b  # (..., D1) @ (D1, D2) + (D2,) -> (..., D2)
    ### END SOLUTION


def input_gradient(dY, W):
    """Return dX, the gradient of the loss with respect to the inputs.

    Arguments:
        dY: gradient of the loss with respect to Y, shape (..., D2).
        W: weights, shape (D1, D2).

    Returns:
        dX, shape (..., D1): a gradient has the shape of its own tensor.
    """
    ### BEGIN SOLUTION
    return dY @ W.T  # (..., D2) @ (D2, D1) -> (..., D1)
    ### END SOLUTION


def bias_gradient(dY):
    """Return db, the gradient of the loss with respect to the bias.

    Forward, broadcasting copies the bias to every place of the batch. (A string like "...j->j" does
    not help: np.einsum can carry ``...`` along, but it cannot sum over it.)

    Arguments:
        dY: gradient of the loss with respect to Y, shape (..., D2).

    Returns:
        db, shape (D2,), for any number of batch axes. Without a batch axis there is a single copy.
    """
    ### BEGIN SOLUTION
    return dY.sum(axis=tuple(range(dY.ndim - 1)))  # every axis but the last
    ### END SOLUTION


def weight_gradient(X, dY):
    """Return dW, the gradient of the loss with respect to the weights.

    All places of the batch share the same weights. (Again: np.einsum cannot sum over ``...``.)

    Arguments:
        X: inputs, shape (..., D1).
        dY: gradient of the loss with respect to Y, shape (..., D2), with the batch axes of X.

    Returns:
        dW, shape (D1, D2), for any number of batch axes.
    """
    ### BEGIN SOLUTION
    rows = X.reshape(-1, X.shape[-1])  # (..., D1) -> (B, D1): to a linear layer all are rows
    dY = dY.reshape(-1, dY.shape[-1])  # (..., D2) -> (B, D2)
    return rows.T @ dY  # (D1, B) @ (B, D2) -> (D1, D2)
    ### END SOLUTION


def linear_backward(X, W, dY):
    """Return all gradients of a linear layer: its backward pass.

    Note what is not among the arguments: neither Y nor b has to be remembered.

    Arguments:
        X: inputs of the forward pass, shape (..., D1).
        W: weights, shape (D1, D2).
        dY: gradient of the loss with respect to Y, shape (..., D2).

    Returns:
        The tuple (dX, dW, db), in the order of the arguments of ``linear``, of shapes
        (..., D1), (D1, D2) and (D2,).
    """
    ### BEGIN SOLUTION
    return input_gradient(dY, W), weight_gradient(X, dY), bias_gradient(dY)
    ### END SOLUTION


def two_layer_backward(X, W1, b1, W2, b2, dY):
    """Return all gradients of two linear layers with a ReLU between them.

    The forward pass, from left to right::

        Z = X W1 + b1        A = max(Z, 0)        Y = A W2 + b2
        (..., D2)            (..., D2)            (..., D3)

    Only its inputs are given: what the backward pass needs besides, you compute again. The ReLU
    has slope 1 where its input is above 0, and slope 0 elsewhere; at exactly 0 we take 0.

    Arguments:
        X: inputs, shape (..., D1).
        W1, b1: weights and bias of the first layer, shapes (D1, D2) and (D2,).
        W2, b2: weights and bias of the second layer, shapes (D2, D3) and (D3,).
        dY: gradient of the loss with respect to Y, shape (..., D3).

    Returns:
        A dict with the keys "X", "W1", "b1", "W2", "b2": for each argument the gradient of the
        loss with respect to it, in its shape.
    """
    ### BEGIN SOLUTION
    Z = linear(X, W1, b1)  # (..., D2)
    A = np.maximum(Z, 0)
    dA, dW2, db2 = linear_backward(A, W2, dY)
    dZ = dA * (Z > 0)  # (..., D2)
    dX, dW1, db1 = linear_backward(X, W1, dZ)
    return {"X": dX, "W1": dW1, "b1": db1, "W2": dW2, "b2": db2}
    ### END SOLUTION
