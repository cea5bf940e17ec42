"""Exercise 23: data parallelism, one gradient for P copies of a model.

Notebook: 23_data_parallelism.ipynb.

Functions with a ``comm`` are programs for P ranks: each rank runs them, with a communicator of its
own. What ``comm`` has here:

    comm.rank, comm.size                 which rank this is, 0 to P − 1, and P
    comm.all_reduce(x, op="sum")         the sum (or op="mean") of all ranks' arrays x, which have
                                         one shape, on every rank. x is an array: a single number
                                         is sent as np.array([20.0])
    comm.all_reduce(x, op, async_op=True)   begins it, and returns a handle at once, which is not
                                         the result: handle.wait() waits for that and returns it.
                                         Until then x must stay as it is
    comm.compute(seconds)                works for so many seconds (the last but one function)

All ranks have to make the same calls, in the same order. Calls and bytes are counted. Where a test
shows per_rank([a, b, …]), rank 0 was given a, rank 1 b, and so on.
"""

import numpy as np


def mean_gradient(comm, gradient, samples):
    """Find the gradient of the mean loss over all ranks' samples.

    Arguments:
        gradient: of the mean loss over this rank's own samples, an array of any shape, float64.
        samples: how many these are, an int; other ranks may have more or fewer.
    Returns: the gradient of the mean over the samples of all ranks together, of the same shape.

    Two ranks with gradients 1 and 4, of 10 and 20 samples: (10·1 + 20·4) / 30 = 3 on both.
    """
    raise NotImplementedError("ex23_data_parallelism: mean_gradient")


def fill_buckets(sizes, most):
    """Put parameters into buckets, in the order in which backward completes their gradients.

    That is from the last to the first. A parameter goes into the bucket that is being filled if
    that then holds at most ``most`` numbers; if not, it begins a new one. So a parameter that is
    larger than ``most`` gets a bucket of its own.

    Arguments:
        sizes: how many numbers each parameter has, a list of ints; it may be empty.
        most: an int.
    Returns: a list of lists of ints: which parameters are in each bucket, by their place in sizes.

    >>> fill_buckets([5, 2, 7, 1, 3], 6)
    [[4, 3], [2], [1], [0]]
    """
    raise NotImplementedError("ex23_data_parallelism: fill_buckets")


def synchronise(comm, gradients, buckets):
    """Average all gradients over the ranks, with one message for each bucket.

    Arguments:
        gradients: this rank's, a list of float64 arrays of any shapes, the same on all ranks.
        buckets: as from ``fill_buckets``; every gradient is in one of them.
    Returns: the mean gradients over ranks, a list in the order of ``gradients``, with their shapes.

    One call of all_reduce a bucket, of one flat array. The gradients must stay as they are.
    """
    raise NotImplementedError("ex23_data_parallelism: synchronise")


def accumulate(comm, gradients):
    """Average the gradients of all micro-batches of all ranks, and speak only once.

    Arguments:
        gradients: (M, n), float64; row m is the gradient of the mean loss over this rank's
            micro-batch m. All micro-batches have the same size, and all ranks the same M.
    Returns: (n,), the gradient of the mean loss over all samples of all ranks.

    One all_reduce, of n numbers.
    """
    raise NotImplementedError("ex23_data_parallelism: accumulate")


def overlapped(comm, gradients, buckets, seconds):
    """Do what ``synchronise`` does, with messages that travel while backward is still at work.

    Backward completes the gradients in the order in which they stand in the buckets: first all of
    the first bucket, one after the other, then those of the second, and so on. Gradient i takes
    seconds[i]: say comm.compute(seconds[i]), and it is complete. As soon as all gradients of a
    bucket are complete, it leaves; backward goes on meanwhile. Only when all work is done does the
    rank wait for what is still on its way.

    Arguments:
        gradients, buckets: as above.
        seconds: of work for each gradient, a list of floats.
    Returns: as ``synchronise``.
    """
    raise NotImplementedError("ex23_data_parallelism: overlapped")


def step_seconds(forward, backward, messages):
    """Predict how long a training step takes whose gradients travel during backward.

    First comes forward. Then backward goes through the layers, from the last to the first. The
    AllReduce of a layer begins when the layer's backward is done and that of the layer after it has
    ended: the wires carry one at a time. The step ends when all of it is done.

    Arguments:
        forward: seconds of the whole forward pass, a float.
        backward: seconds of each layer's backward, a list of floats; the first layer stands first.
        messages: seconds of each layer's AllReduce, a list as long.
    Returns: seconds of the step, a float.

    >>> step_seconds(10.0, [3.0, 3.0, 3.0], [2.0, 2.0, 2.0])
    21.0
    >>> step_seconds(10.0, [3.0, 3.0, 3.0], [5.0, 5.0, 5.0])
    28.0
    """
    raise NotImplementedError("ex23_data_parallelism: step_seconds")
