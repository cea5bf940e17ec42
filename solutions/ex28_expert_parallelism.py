"""Exercise 28: expert parallelism.

Notebook: 28_expert_parallelism.ipynb.

You choose experts for tokens, queue the tokens before them, measure how unevenly they are chosen,
and send tokens to experts on other ranks and their answers home.

Letters: T tokens of D numbers, E experts, of which a token visits k; P ranks, each with E/P of the
experts: rank r has experts r·E/P to (r + 1)·E/P − 1.

The last functions are programs for P ranks: each rank runs them, with a communicator of its own.
What ``comm`` has here:

    comm.rank, comm.size        which rank this is, 0 to P − 1, and P
    comm.all_to_all(x)          cuts x into P equal pieces along axis 0 and sends piece r to rank r;
                                returns what comes in, put together: the piece from rank 0 first
    comm.all_to_all_rows(x, send_counts, recv_counts)
                                the same with uneven pieces: the first send_counts[0] rows of x go
                                to rank 0, the next send_counts[1] to rank 1, and so on;
                                recv_counts[r] rows come from rank r, exactly as many as it sends

Nothing else of it may be used: no all_gather, and no messages from one rank to one other. There may
be no rows at all, in any of these functions and exchanges: then arrays have a length of 0.
"""

import numpy as np


def route(scores, k):
    """Choose the k experts with the largest scores for each token, and weigh them.

    Arguments:
        scores: (T, E), float64, of any size: they may be in the thousands.
        k: how many experts a token visits, 1 to E.
    Returns: (experts, gates): experts, (T, k), int64, the numbers of the experts, the one with the
        largest score first (of equal scores the smaller number); gates, (T, k), the softmax of
        these k scores, so that a token's gates sum to 1.

    >>> route(np.array([[1.0, 3.0, 3.0]]), 2)
    (array([[1, 2]]), array([[0.5, 0.5]]))
    """
    ### BEGIN SOLUTION
    experts = np.argsort(-scores, axis=1, kind="stable")[:, :k]  # (T, E) -> (T, k)
    best = np.take_along_axis(scores, experts, axis=1)  # (T, k)
    powers = np.exp(best - best[:, :1])  # the first is the largest
    return experts, powers / powers.sum(axis=1, keepdims=True)
    ### END SOLUTION


def queue(experts, E, capacity):
    """Queue tokens before their experts, and drop those that find no place.

    All first choices queue before all second choices, these before all third ones, and so on; among
    the same choices, earlier tokens before later ones. Expert e takes the first ``capacity`` of its
    queue and drops the rest. What is left is N rows, sorted by expert, and in each expert's part in
    the order of its queue.

    Arguments:
        experts: (T, k), int64, first choices in column 0.
        E: how many experts there are.
        capacity: how many rows an expert takes at most.
    Returns: (token, choice, counts), all int64: token (N,), which token each row is; choice (N,),
        which of its choices, 0 to k − 1; counts (E,), how many rows each expert gets.
    """
    ### BEGIN SOLUTION
    rows = [
        (expert, choice, token)
        for choice in range(experts.shape[1])
        for token, expert in enumerate(experts[:, choice])
    ]
    counts, kept = np.zeros(E, np.int64), []
    for row in rows:
        if counts[row[0]] < capacity:
            counts[row[0]] += 1
            kept.append(row)
    kept = np.array(sorted(kept), np.int64).reshape(-1, 3)  # by expert, choice, token
    return kept[:, 2], kept[:, 1], counts
    ### END SOLUTION


def balance_loss(scores, experts):
    """Measure how unevenly experts are chosen: E · Σₑ fₑ·pₑ, the auxiliary loss of Switch.

    fₑ is the share of all T·k choices that fell on expert e; pₑ is the mean over tokens of the
    probability of e in the softmax over all E scores.

    Arguments:
        scores: (T, E), float64, small enough for exp.
        experts: (T, k), int64, the choices, whatever they were made by.
    Returns: a float.
    """
    ### BEGIN SOLUTION
    E = scores.shape[1]
    f = np.bincount(experts.reshape(-1), minlength=E) / experts.size  # (E,)
    p = np.exp(scores)
    p = p / p.sum(axis=1, keepdims=True)  # (T, E)
    return E * float(f @ p.mean(axis=0))
    ### END SOLUTION


def send_to_experts(comm, rows, counts):
    """Send rows to the ranks that have their experts: one exchange of counts, then one of rows.

    Rank r has to know how many rows come from each rank for each of *its* experts: E/P counts from
    every rank, and not their sums. No more than that and the rows is sent.

    Arguments:
        rows: of this rank, (N, D), sorted by expert.
        counts: (E,), int64, how many of them each expert gets.
    Returns: (arrived, coming): arrived, (M, D), all rows that come here, those of rank 0 first,
        each rank's sorted by expert; coming, (P, E/P), int64: coming[r, i] rows come from rank r
        for expert number i of this rank.
    """
    ### BEGIN SOLUTION
    coming = comm.all_to_all(counts).reshape(comm.size, -1)  # (E,) -> (P, E/P)
    send = counts.reshape(comm.size, -1).sum(axis=1)  # (P,)
    return comm.all_to_all_rows(rows, send, coming.sum(axis=1)), coming
    ### END SOLUTION


def by_expert(coming):
    """Find the order that brings rows which arrived sorted by rank into the order of experts.

    What has arrived is coming[0, 0] rows from rank 0 for expert 0, then coming[0, 1] from rank 0
    for expert 1, and so on, then those from rank 1. In the new order all rows for expert 0 come
    first, those of rank 0 before those of rank 1; then all for expert 1. Rows of the same rank and
    expert keep their order.

    Arguments:
        coming: (P, E/P), int64.
    Returns: order, (M,), int64, so that arrived[order] is in the new order.
    """
    ### BEGIN SOLUTION
    P, local = coming.shape
    expert = np.repeat(np.tile(np.arange(local), P), coming.reshape(-1))  # (M,): of each row
    return np.argsort(expert, kind="stable")
    ### END SOLUTION


def moe_layer(comm, x, router, weights, k, capacity):
    """Let every token visit its experts, on whatever rank they are: y = Σ gate · expert(x).

    The scores of the tokens are x @ router. Each expert is one matrix W (D, D) and answers a row
    with np.maximum(row @ W, 0) ** 2. It takes at most ``capacity`` rows of each rank; a choice that
    is dropped adds nothing, and gates stay.

    Arguments:
        x: of this rank, (T, D), float64; other ranks may have other T, or none: T = 0.
        router: (D, E), the same on all ranks.
        weights: (E/P, D, D), the matrices of this rank's experts.
        k, capacity: as above.
    Returns: y, (T, D), in the order of x.

    Use the functions above: route, queue, send_to_experts, by_expert. Weights stay where they are;
    rows travel as they are in x, there and back, in one exchange each. What comes back from experts
    is in the order in which the rows were sent.
    """
    ### BEGIN SOLUTION
    experts, gates = route(x @ router, k)
    token, choice, counts = queue(experts, router.shape[1], capacity)
    arrived, coming = send_to_experts(comm, x[token], counts)  # (N, D) -> (M, D)
    order = by_expert(coming)
    expert = np.repeat(np.arange(len(weights)), coming.sum(axis=0))  # (M,), sorted
    answers = np.empty_like(arrived)
    for i, W in enumerate(weights):
        mine = order[expert == i]
        answers[mine] = np.maximum(arrived[mine] @ W, 0) ** 2
    send = counts.reshape(comm.size, -1).sum(axis=1)
    back = comm.all_to_all_rows(answers, coming.sum(axis=1), send)  # (M, D) -> (N, D)
    y = np.zeros_like(x)
    np.add.at(y, token, gates[token, choice][:, None] * back)
    return y
    ### END SOLUTION
