"""Exercise 25: pipeline parallelism, from the bubble's formula to a program that runs a schedule.

Notebook: 25_pipeline_parallelism.ipynb.

A model is cut into S stages, a batch into M micro-batches. What a stage does is a list of actions,
in the order in which it does them: ("F", m) is the forward pass of micro-batch m, ("B", m) its
backward pass. A schedule is a list of S such lists, that of stage 0 first. Stages and micro-batches
count from 0.

Forward passes go from stage 0 to stage S − 1. On the last stage ("B", m) may follow its own
("F", m) at once; on any other it needs the gradient that ("B", m) of the stage after has given.
"""

import numpy as np


def bubble(S, M, v):
    """Say what share of all time S equal stages are idle.

    Arguments:
        S: stages, an integer, at least 1.
        M: micro-batches, an integer, at least 1.
        v: chunks that each stage holds with interleaved 1F1B; 1 is GPipe, or 1F1B as it is.
    Returns: idle time over all time from the first action to the last, a float.

    >>> bubble(4, 9, 1)
    0.25
    """
    ### BEGIN SOLUTION
    return (S - 1) / (v * M + S - 1)
    ### END SOLUTION


def gpipe(S, M):
    """Write GPipe's schedule: every stage does all forward passes, then all backward passes.

    Arguments:
        S, M: stages and micro-batches, integers, at least 1.
    Returns: a list of S lists of actions, micro-batches in order both ways.

    >>> gpipe(1, 2)
    [[('F', 0), ('F', 1), ('B', 0), ('B', 1)]]
    """
    ### BEGIN SOLUTION
    forward, backward = [("F", m) for m in range(M)], [("B", m) for m in range(M)]
    return [forward + backward for _ in range(S)]
    ### END SOLUTION


def one_f_one_b(S, M):
    """Write the schedule 1F1B, with as few forward passes ahead as keep the pipeline full.

    Stage i begins with S − i − 1 forward passes (all M, if there are no more). Then it does one
    forward and one backward pass in turn, as long as there are forward passes; then the backward
    passes that are left. Micro-batches come in order both ways.

    Arguments:
        S, M: stages and micro-batches, integers, at least 1.
    Returns: a list of S lists of actions.

    >>> one_f_one_b(2, 2)
    [[('F', 0), ('F', 1), ('B', 0), ('B', 1)], [('F', 0), ('B', 0), ('F', 1), ('B', 1)]]
    """
    ### BEGIN SOLUTION
    schedule = []
    for i in range(S):
        ahead = min(S - i - 1, M)
        actions = [("F", m) for m in range(ahead)]
        for m in range(M - ahead):
            actions += [("F", m + ahead), ("B", m)]
        schedule.append(actions + [("B", m) for m in range(M - ahead, M)])
    return schedule
    ### END SOLUTION


def most_held(actions):
    """Say how many micro-batches' activations a stage has to keep at once.

    They are kept from a micro-batch's forward pass until its backward pass on this stage is done.

    Arguments:
        actions: of one stage, a list that holds ("F", m) before ("B", m) for each m. Micro-batches
            may come in any order.
    Returns: the largest number that is kept at any time, an integer.

    >>> most_held([("F", 0), ("F", 1), ("B", 1), ("B", 0)])
    2
    """
    ### BEGIN SOLUTION
    held, most = 0, 0
    for kind, _ in actions:
        held += 1 if kind == "F" else -1
        most = max(most, held)
    return most
    ### END SOLUTION


def finish_times(schedule, forward, backward):
    """Say when each stage is done with each of its actions, if messages take no time.

    A stage does its actions in their order, each as soon as it is done with the one before and has
    what it needs: ("F", m) that of the stage before, ("B", m) that of the stage after.

    Arguments:
        schedule: a list of S lists of actions, with which no stage waits for ever.
        forward: what a forward pass takes on each stage, in seconds, a list of S floats.
        backward: what a backward pass takes on each stage, a list of S floats.
    Returns: a list of S lists of floats: times[i][k] is when stage i is done with schedule[i][k].
        Time begins at 0.

    >>> finish_times([[("F", 0), ("B", 0)], [("F", 0), ("B", 0)]], [1.0, 1.0], [2.0, 3.0])
    [[1.0, 7.0], [2.0, 5.0]]
    """
    ### BEGIN SOLUTION
    S, done = len(schedule), {}
    times = [[] for _ in schedule]
    while any(len(times[i]) < len(schedule[i]) for i in range(S)):
        for i, actions in enumerate(schedule):
            for kind, m in actions[len(times[i]) :]:
                other = i - 1 if kind == "F" else i + 1
                if 0 <= other < S and (kind, m, other) not in done:
                    break
                begin = max(times[i][-1] if times[i] else 0.0, done.get((kind, m, other), 0.0))
                done[kind, m, i] = begin + (forward if kind == "F" else backward)[i]
                times[i].append(done[kind, m, i])
    return times
    ### END SOLUTION


def run_stage(comm, actions, w, batch, targets):
    """Train one stage of a model on a batch, as its list of actions says: a program for S ranks.

    Rank i is stage i. Its layer is y = tanh(x·w); x is the y of the stage before, and on stage 0
    the rows of the batch. The loss is the mean of (y − target)² over all numbers of the whole
    batch, for the y of the last stage. The batch is cut into M micro-batches, in order, of equally
    many rows. All stages take micro-batches in the same order, and what a rank sends to another one
    comes in the order in which it was sent.

    Arguments:
        comm: the communicator. It has comm.rank, comm.size; comm.send(x, dest), which waits until x
            has been received; comm.recv(like, source), which returns the array that comes, where
            ``like`` is any array of its shape and dtype, and is not filled; comm.isend(x, dest),
            which copies x and goes on, and returns a handle, whose .wait() waits until x has been
            received; comm.irecv(like, source), which goes on, and the handle's .wait() returns the
            array; comm.compute(seconds, name), which lets time go by.
        actions: of this stage, a list.
        w: of this stage, (D, D).
        batch, targets: all rows, (B, D), the same on all ranks. M divides B.
    Returns: (loss, dw): the loss of the whole batch on the last rank and 0.0 on the others, a
        float; and its gradient by this stage's w, (D, D).

    Call comm.compute(1.0, "F3") once for the forward pass of micro-batch 3, and comm.compute(2.0,
    "B3") for its backward pass: after what it needs has been received, before what it gives is
    sent. No stage may wait for ever, or longer than it must.

    NumPy alone is to be used, unlike in the notebook, so gradients are written by hand: with
    da = dy · (1 − y²) those of a micro-batch are dw = xᵀ·da and dx = da·wᵀ.
    """
    ### BEGIN SOLUTION
    i, last = comm.rank, comm.size - 1
    M = len(actions) // 2
    xs, ts = np.split(batch, M), np.split(targets, M)
    held, sent, loss, dw = {}, [], 0.0, np.zeros_like(w)
    for kind, m in actions:
        if kind == "F":
            x = xs[m] if i == 0 else comm.recv(xs[m], i - 1)
            y = np.tanh(x @ w)
            held[m] = x, y
            comm.compute(1.0, f"F{m}")
            if i < last:
                sent.append(comm.isend(y, i + 1))
            else:
                loss += float(((y - ts[m]) ** 2).sum()) / targets.size
        else:
            x, y = held.pop(m)
            dy = 2 * (y - ts[m]) / targets.size if i == last else comm.recv(y, i + 1)
            da = dy * (1 - y**2)
            dw += x.T @ da
            comm.compute(2.0, f"B{m}")
            if i > 0:
                sent.append(comm.isend(da @ w.T, i - 1))
    for handle in sent:
        handle.wait()
    return loss, dw
    ### END SOLUTION
