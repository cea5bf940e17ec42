"""Exercise 13: training a GPT, from its table of sizes to the loop.

Notebook: 13_training_a_gpt.ipynb.

The notebook says what a training run is made of. Here you write its parts: the learning rate of
each step, the loss, the count of parameters and bytes, the gradient of a batch too large for the
machine. In the end they meet in one loop.

Letters: B texts in a batch, L tokens in each, V the vocabulary, D the width, l the layers,
Ψ the number of parameters; ``...`` stands for any number of axes.
"""

import math

import numpy as np

IGNORED = -100  # a target with this number is padding: it does not count


def learning_rate(step, lr, steps, warmup, final):
    """Say how large the learning rate is at one step of a training run.

    It rises in a straight line for ``warmup`` steps, from lr / warmup at step 0 to lr at step
    warmup − 1. It is lr once more at step ``warmup``, then follows half a cosine down to ``final``,
    which it reaches at step ``steps`` and keeps for ever after.

    Arguments:
        step: which step, an integer, counted from 0.
        lr: the highest rate.
        steps, warmup: integers with 0 <= warmup < steps.
        final: the lowest rate, at the end.
    Returns: the rate, a number.

    >>> [learning_rate(step, 1.0, steps=10, warmup=2, final=0.0) for step in (0, 1, 2, 6, 10, 99)]
    [0.5, 1.0, 1.0, 0.5, 0.0, 0.0]
    """
    ### BEGIN SOLUTION
    if step < warmup:
        return lr * (step + 1) / warmup
    progress = min((step - warmup) / (steps - warmup), 1)  # from 0 to 1
    return final + (lr - final) * (1 + math.cos(math.pi * progress)) / 2
    ### END SOLUTION


def cross_entropy(logits, targets):
    """Give the mean of −log p over all tokens that count, p what softmax gives to the target.

    The mean is over tokens: each counts the same, whichever text it stands in. A token whose target
    is IGNORED does not count at all. Logits may have any size: where they differ by 1000, the
    smaller one's p is 0 as a float, but its −log p is 1000, and asked for here.

    Arguments:
        logits: (..., V) finite floats.
        targets: (...) integers from 0 to V − 1, or IGNORED; at least one is not.
    Returns: the loss in nats per token, a number.

    ``np.logaddexp`` and ``np.logaddexp2`` would deal with the size; they are switched off here.

    >>> logits = np.log([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])  # two tokens, V = 3
    >>> round(float(cross_entropy(logits, np.array([1, IGNORED]))), 6)  # −log 0.25
    1.386294
    """
    ### BEGIN SOLUTION
    shifted = logits - logits.max(axis=-1, keepdims=True)  # (..., V), at most 0
    log_p = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    counts = targets != IGNORED  # (...)
    return -log_p[counts, targets[counts]].mean()
    ### END SOLUTION


def parameter_count(config):
    """Count the parameters Ψ of a GPT from its configuration.

    Where they sit, with biases and a tied head (notebook 13):
        each layer      W_Q, W_K, W_V, W_O, all (D, D), and the MLP's (D, 4D) and (4D, D);
                        a bias for each of these six; two norms, each a gain and a bias
        once            token embedding (V, D), positions (L, D), a last norm
    Without biases no matrix has one, and the norms have gains only. A head that is not tied to the
    token embedding is a matrix of its own, (D, V), and never has a bias.

    The width of attention is taken as D, whatever n_h and H say: heads only share out D. (Table 2.1
    of the GPT-3 paper prints 24 heads of 128 for a width of 2,048, a misprint.)

    Arguments:
        config: a dict: "l" layers, "D" width, "n_h" heads, "H" their width, "V" vocabulary,
            "L" longest context, integers all; "bias" and "tied", bool.
    Returns: Ψ, an integer.

    >>> gpt2_small = dict(l=12, D=768, n_h=12, H=64, V=50_257, L=1_024, bias=True, tied=True)
    >>> parameter_count(gpt2_small)
    124439808
    """
    ### BEGIN SOLUTION
    l, D, V, L = (config[name] for name in ("l", "D", "V", "L"))
    layer = 4 * D**2 + 8 * D**2 + 2 * D  # attention, MLP, the gains of two norms
    ends = V * D + L * D + D
    if config["bias"]:
        layer += 4 * D + (4 * D + D) + 2 * D  # attention, MLP, norms
        ends += D
    if not config["tied"]:
        ends += D * V
    return l * layer + ends
    ### END SOLUTION


def memory_bytes(parameters, dtype, optimizer=None):
    """Say how many bytes a model takes, part by part, to store or to train (no activations).

    To store it takes its "weights", each 4 bytes as float32, 2 as float16 or bfloat16. To train, it
    also takes "gradients", of the dtype of the weights. And the optimizer keeps, always as float32:
    for "momentum" a running mean "m"; for "adam" the means "m" and "v"; for "sgd" nothing. Where
    the weights have 2 bytes (mixed precision), it keeps a "float32 copy" of them as well.

    Arguments:
        parameters: how many, an integer.
        dtype: of the weights, "float32", "float16" or "bfloat16".
        optimizer: None to store only, or "sgd", "momentum" or "adam".
    Returns: a dict, bytes (an integer) by name of the part; only parts that are there.

    >>> memory_bytes(10, "float32", "momentum")
    {'weights': 40, 'gradients': 40, 'm': 40}
    """
    ### BEGIN SOLUTION
    size = 4 if dtype == "float32" else 2
    parts = {"weights": size * parameters}
    if optimizer is not None:
        parts["gradients"] = size * parameters
        kept = {"sgd": [], "momentum": ["m"], "adam": ["m", "v"]}[optimizer]
        for name in ["float32 copy", *kept] if size == 2 else kept:
            parts[name] = 4 * parameters
    return parts
    ### END SOLUTION


def accumulate(w, pieces, loss_and_gradient):
    """Give the loss and the gradient of a large batch that comes in small pieces.

    They are those of all tokens together: the mean over every token that counts, whichever piece it
    stands in. The pieces have different shapes, and different numbers of targets that are IGNORED.
    The machine has room for one piece at a time, so they cannot be joined into one.

    Arguments:
        w: (V, V), the parameters. (The model of the tests is a single table: what it says after
            token x is the row w[x].)
        pieces: a list of tuples (x, y), both (B, L) integers: ids, and the target of each.
        loss_and_gradient: a function. ``loss_and_gradient(w, x, y)`` gives a tuple: the mean loss
            over those tokens of one piece that count, a float, and its gradient (V, V). Where none
            counts, both are NaN: a piece with no such token must be left out.
    Returns: a tuple: the loss of the large batch, a number, and its gradient (V, V).
    """
    ### BEGIN SOLUTION
    counts = [(y != IGNORED).sum() for _, y in pieces]
    loss, gradient = 0.0, np.zeros_like(w)
    for (x, y), count in zip(pieces, counts):
        if count > 0:
            share = count / sum(counts)
            piece_loss, piece_gradient = loss_and_gradient(w, x, y)
            loss += share * piece_loss
            gradient += share * piece_gradient
    return loss, gradient
    ### END SOLUTION


def train(w, batches, loss_and_gradient, lr, warmup, final, max_norm):
    """Train: for each batch accumulate, clip the gradient, and take one step downhill.

    Clipping: a gradient that is longer than ``max_norm`` is scaled down to that length, as a whole,
    so that it keeps its direction; a shorter one stays as it is. Its length is the root of the sum
    of all its squares. The step is plain SGD: w − rate · gradient, with the rate of
    ``learning_rate`` for a run of as many steps as there are batches.

    Arguments:
        w: (V, V), the parameters at the start.
        batches: a list of batches, one a step; each is a list of pieces as in ``accumulate``.
        loss_and_gradient: as in ``accumulate``.
        lr, warmup, final: as in ``learning_rate``.
        max_norm: the greatest length of a gradient, a positive number.
    Returns: a tuple: the parameters at the end (V, V), and a list of the losses, one a step, each
        from before that step.
    """
    ### BEGIN SOLUTION
    losses = []
    for step, pieces in enumerate(batches):
        loss, gradient = accumulate(w, pieces, loss_and_gradient)
        length = math.sqrt((gradient**2).sum())
        if length > max_norm:
            gradient = gradient * (max_norm / length)
        w = w - learning_rate(step, lr, len(batches), warmup, final) * gradient
        losses.append(loss)
    return w, losses
    ### END SOLUTION
