"""Exercise 02: stochastic gradient descent.

Notebook: 02_stochastic_gradient_descent.ipynb.

You write the gradient of the empirical risk, three rules that turn a gradient into a step, the
schedule of the step size, and at last the loop that holds them: the one in which large models are
trained, here around a linear one.

The notebook's rules kept what they remember in a dict. Here nothing is hidden: what a rule
remembers comes in as arrays and goes out as new arrays. No function may change the arrays that it
is given, so write `v = beta * v + g`, never `v *= beta`.

Symbols as in the notebook: N samples, D weights, B samples in a batch, `lr` the step size, `k` a
step counted from 0, `t` a step counted from 1.
"""

import math

import numpy as np


def gradient(w, X, y):
    """The gradient of the empirical risk of a linear model with squared loss.

    The model is f(x; w) = x_1 w_1 + ... + x_D w_D, its risk the mean over the samples given,

        R(w) = (1/N) sum_i (f(x_i; w) - y_i)^2.

    Given all samples this is the gradient of the full batch; given some of them, a mini-batch's.

    Arguments:
        w: (D,), the weights.
        X: (N, D), one sample in each row. N may be as small as 1.
        y: (N,), the answers.

    Returns: the gradient of R with respect to w, an array (D,).
    """
    ### BEGIN SOLUTION
    miss = X @ w - y  # (N,)
    return 2 * miss @ X / len(y)  # (N,) @ (N, D) -> (D,)
    ### END SOLUTION


def momentum_step(w, g, v, lr, beta=0.9):
    """One step of gradient descent with momentum.

    The velocity is a running sum of gradients in which old ones fade, and the step follows the new
    velocity:

        v <- beta v + g,    w <- w - lr v.

    Arguments:
        w, g, v: the weights, the gradient there, and the velocity so far (zeros before the first
            step): arrays of one shape, whatever it is.
        lr, beta: numbers.

    Returns: the tuple (w, v) after the step, two new arrays of the same shape and dtype.
    """
    ### BEGIN SOLUTION
    v = beta * v + g
    return w - lr * v, v
    ### END SOLUTION


def adam_step(w, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8):
    """One step of Adam (Kingma and Ba, 2015).

    m is a running mean of the gradients, v one of their squares. Both begin at zero and so are too
    small at first; the step uses them divided by 1 - beta^t. Those corrected means are for the step
    only: what is remembered is m and v as they are.

        m <- beta1 m + (1 - beta1) g,    v <- beta2 v + (1 - beta2) g^2,
        w <- w - lr (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps).

    Arguments:
        w, g, m, v: weights, gradient and the two means so far, arrays of one shape, whatever it is.
        t: an int, the number of this step: 1 for the first.
        lr, beta1, beta2, eps: numbers.

    Returns: the tuple (w, m, v) after the step, three new arrays of the same shape and dtype.
    (A float32 array stays float32 beside Python's own numbers, and becomes float64 beside one of
    NumPy's, such as np.sqrt(0.5).)
    """
    ### BEGIN SOLUTION
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return w - lr * m_hat / (np.sqrt(v_hat) + eps), m, v
    ### END SOLUTION


def adamw_step(w, g, m, v, t, lr, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.01):
    """One step of AdamW (Loshchilov and Hutter, 2019): Adam, and a pull towards zero beside it.

    First every weight shrinks by lr * decay times itself; then follows Adam's step, by the same
    gradient. The pull does not pass through m and v.

    Arguments:
        decay: a number, the notebook's lambda. All others are as for `adam_step`.

    Returns: the tuple (w, m, v) after the step, as `adam_step` does.
    """
    ### BEGIN SOLUTION
    return adam_step(w - lr * decay * w, g, m, v, t, lr, beta1, beta2, eps)
    ### END SOLUTION


def cosine(k, lr, steps, warmup=0, final=0.0):
    """The step size of step k: a linear rise to lr, then half a cosine down to final.

    The first `warmup` steps rise evenly: the first of them has lr / warmup, the last one lr itself.
    The next step, k = warmup, has lr too; from there half a cosine falls to `final`, which is
    reached at k = steps and kept ever after. (The notebook's schedule is the one with final = 0,
    and is never asked beyond its end.)

    Arguments:
        k: an int, counted from 0.
        lr: the highest step size.
        steps, warmup: ints with 0 <= warmup < steps.
        final: the lowest step size after warm-up, between 0 and lr.

    Returns: a number.

        cosine(k, 1.0, steps=6, warmup=2, final=0.2)    for k = 0, 1, ... 7 is
        0.5, 1.0, 1.0, 0.883, 0.6, 0.317, 0.2, 0.2 (rounded)
    """
    ### BEGIN SOLUTION
    if k < warmup:
        return lr * (k + 1) / warmup
    progress = min((k - warmup) / (steps - warmup), 1)  # from 0 to 1
    return final + (lr - final) * (1 + math.cos(math.pi * progress)) / 2
    ### END SOLUTION


def train(w, X, y, orders, batch_size, lr, warmup=0, decay=0.01):
    """Train the linear model: AdamW over mini-batches, its step size following the cosine.

    Each row of `orders` is one pass over the data, which says in which order the samples are read.
    They are cut into batches in that order: the first `batch_size` of them, the next, and so on;
    what remains at the end of a pass is a smaller batch of its own. For each batch: its gradient at
    the weights of now, then one step of `adamw_step` with the step size of `cosine`.

    Weights, means and step count go on from one pass to the next, and the schedule spans all passes
    together, falling to 0 at their end. beta1, beta2 and eps are the defaults of `adamw_step`.

    Arguments:
        w: (D,), the weights to start from.
        X, y: (N, D) and (N,), the samples.
        orders: (E, N), an int array, each row a permutation of 0 ... N - 1.
        batch_size: an int from 1 to N.
        lr, warmup: as for `cosine`.
        decay: as for `adamw_step`.

    Returns: the path of the weights, an array (K + 1, D) for K steps in all: the start, then the
    weights after each step.
    """
    ### BEGIN SOLUTION
    starts = range(0, len(y), batch_size)
    batches = [order[i : i + batch_size] for order in orders for i in starts]
    m, v, path = np.zeros_like(w), np.zeros_like(w), [w]
    for k, batch in enumerate(batches):
        g = gradient(w, X[batch], y[batch])
        rate = cosine(k, lr, len(batches), warmup)
        w, m, v = adamw_step(w, g, m, v, k + 1, rate, decay=decay)
        path.append(w)
    return np.array(path)
    ### END SOLUTION
