"""Exercise 24: ZeRO, in which nobody holds everything.

Notebook: 24_zero.ipynb.

Functions with a ``comm`` are programs for P ranks: each rank runs them, with a communicator of its
own. What ``comm`` has here:

    comm.rank, comm.size                 which rank this is, 0 to P − 1, and P
    comm.reduce_scatter(x, op="sum")     (P·n,) -> (n,): share number comm.rank of the sum (or
                                         op="mean") of all ranks' arrays
    comm.all_gather(x)                   (n,) -> (P·n,): all ranks' arrays, one after the other
    comm.all_gather(x, async_op=True)    begins it, and returns a handle at once, which is not the
                                         result: handle.wait() waits for that and returns it
    comm.all_reduce(x, op="sum")         the sum of all ranks' arrays, on every rank; of a single
                                         number, too: np.array([20.0])
    comm.compute(seconds)                works for so many seconds

Each function says which of them it may call. Calls and bytes are counted. Where a test shows
per_rank([a, b, …]), rank 0 was given a, rank 1 b, and so on.
"""

import math

import numpy as np


def adam(w, g, m, v, t):
    """A step of Adam, number t (from 1), of arrays of one shape: returns new (w, m, v)."""
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g * g
    w = w - 0.01 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return w, m, v


def model_state_bytes(psi, P, stage, kappa=12):
    """Say how many bytes of model states a rank holds.

    Weights and gradients have 2 bytes a parameter, optimizer states kappa bytes. Stage 0 shares
    nothing out among the P ranks, stage 1 the optimizer states, stage 2 also the gradients, stage 3
    also the weights.

    Arguments:
        psi: how many parameters, an int.
        P: how many ranks.
        stage: 0, 1, 2 or 3.
        kappa: bytes.
    Returns: {"weights": bytes, "gradients": bytes, "optimizer": bytes}, floats.

    >>> model_state_bytes(1000, 4, 1)
    {'weights': 2000.0, 'gradients': 2000.0, 'optimizer': 3000.0}
    """
    raise NotImplementedError("ex24_zero: model_state_bytes")


def first_stage_that_fits(psi, P, memory):
    """Find the lowest stage whose model states fit into a rank's memory.

    Arguments:
        psi, P: as above; kappa is 12.
        memory: of a rank, in bytes; as many as that are allowed.
    Returns: 0, 1, 2 or 3, or None if not even stage 3 fits.

    >>> first_stage_that_fits(7_000_000_000, 8, 80e9)
    1
    """
    raise NotImplementedError("ex24_zero: first_stage_that_fits")


def share(w, P, rank):
    """Cut out a rank's share of a flat array.

    All P shares have the same length, the smallest that will do. Where P does not divide the array,
    zeros at its end make up for it.

    Arguments:
        w: (n,), float64.
        P, rank: how many shares, and the number of the one that is wanted, 0 to P − 1.
    Returns: (⌈n/P⌉,), float64.

    >>> share(np.array([1.0, 2.0, 3.0, 4.0, 5.0]), 3, 2)
    array([5., 0.])
    """
    raise NotImplementedError("ex24_zero: share")


def stage_1_step(comm, w, g, m, v, t):
    """Make a training step in which each rank updates its share alone.

    Arguments:
        w: (n,), all weights, the same on every rank.
        g: (n,), the gradient of this rank's own samples. The step is made with the mean over ranks.
        m, v: (⌈n/P⌉,), Adam's states of this rank's share, which is that of ``share``.
        t: the number of the step, from 1.
    Returns: (w, m, v) after the step: all weights (n,), the same on every rank, and the states of
        this rank's share.

    May call reduce_scatter and all_gather, once each. ``adam`` above is given. P need not divide n,
    and reduce_scatter wants a length that P divides: fill up as in ``share``.
    """
    raise NotImplementedError("ex24_zero: stage_1_step")


def reduce_layers(comm, gradients, held):
    """Take in a micro-batch's gradients as stage 2 does: of each layer keep the own share only.

    Arguments:
        gradients: of this rank, a list of (n,) arrays, one for each layer, in the order in which
            backward completes them. P divides each n; they differ from layer to layer.
        held: a list of (n/P,) arrays: this rank's shares of what earlier micro-batches have
            brought.
    Returns: a list of (n/P,) arrays: ``held``, plus this rank's share of the mean over ranks of
        ``gradients``. The arrays of held themselves must stay as they are.

    Calls reduce_scatter, once for each layer.
    """
    raise NotImplementedError("ex24_zero: reduce_layers")


def clip(comm, shares, most):
    """Clip gradients of which each rank has a share: scale them if their joint norm is too large.

    Arguments:
        shares: this rank's share of each layer's gradient, a list of arrays of different lengths.
        most: the largest norm allowed, positive.
    Returns: (list of arrays, norm): the shares, scaled by most/norm if the norm is larger than
        most, and the Euclidean norm of *all ranks'* shares together before that, a float, the same
        on every rank. If all numbers are 0, so is the norm, and nothing is scaled.

    May call all_reduce, once, of a single number: an array of shape (1,).
    """
    raise NotImplementedError("ex24_zero: clip")


def forward(comm, shares, shapes, x, product):
    """Run a model of which each rank has a share of the weights: gather a layer, use it, go on.

    Layer i computes x = relu(x · W_i), where relu(a) is a where a is positive, else 0.

    Arguments:
        shares: this rank's share (as from ``share``) of each layer's weights W_i.reshape(-1).
        shapes: (rows, columns) of each W_i, a list of tuples.
        x: (B, rows of W_0): this rank's own samples.
        product: use it for x · W_i, as product(x, W_i). This device has room for one whole layer,
            so product refuses if the weights of the layer before are still held in a variable.
    Returns: (B, columns of the last W), what the layers make of x.

    Calls all_gather, once for each layer. What it gives has zeros at the end where P does not
    divide rows · columns.
    """
    raise NotImplementedError("ex24_zero: forward")


def forward_ahead(comm, shares, shapes, x, product, seconds):
    """Do what ``forward`` does, and fetch each layer's weights while the layer before runs.

    Layer i works for seconds[i]: say comm.compute(seconds[i]) when its weights are there. Just
    before it does, begin to gather the weights of layer i + 1, and no others: there is room for two
    layers. Nobody fetches ahead for layer 0.

    Arguments:
        shares, shapes, x, product: as above.
        seconds: of each layer's work, a list of floats.
    Returns: as ``forward``.

    Calls all_gather and compute, each once for each layer.
    """
    raise NotImplementedError("ex24_zero: forward_ahead")
