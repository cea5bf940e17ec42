"""Exercise 18: what a user feels and what an operator pays, from the times at which tokens arrive.

Notebook: 18_inference_metrics.ipynb.

First one request, then many on one clock; how well a machine's memory is used, and how many texts
it can serve within a limit; and at the end the answers that keep a promise.

A request is a pair (asked, arrivals): when it came, a float, and when each of its tokens was there,
a float64 array (n,), rising, n at least 1. All times are seconds on one clock, which need not begin
at 0.
"""

import numpy as np


def answer_times(asked, arrivals):
    """Take the three times that a user feels from one request.

    Arguments:
        asked: when the request came, in seconds, a float.
        arrivals: when each token was there, on the same clock, float64 (n,).
    Returns: (TTFT, TPOT, latency), a tuple of floats, in seconds. TPOT is the mean time from one
        token to the next; for a single token, which has no next, it is 0.0.

    >>> answer_times(10.0, np.array([10.5, 10.75, 11.0]))
    (0.5, 0.25, 1.0)
    """
    ### BEGIN SOLUTION
    n = len(arrivals)
    ttft, latency = arrivals[0] - asked, arrivals[-1] - asked
    tpot = (latency - ttft) / (n - 1) if n > 1 else 0.0
    return float(ttft), float(tpot), float(latency)
    ### END SOLUTION


def throughput(requests):
    """Say how many tokens a second a machine made while it had something to do.

    A request keeps the machine busy from when it was asked until its last token. Requests may
    overlap, lie inside each other or apart, and be asked at the same moment. Time in which several
    are served counts once, and time in which there is no request does not count.

    Arguments:
        requests: a list of (asked, arrivals), at least one, in any order.
    Returns: tokens of all requests over the seconds in which the machine was busy, a float.

    >>> throughput([(0.0, np.array([1.0, 2.0])), (1.0, np.array([2.5, 3.0, 4.0]))])
    1.25
    """
    ### BEGIN SOLUTION
    busy, until = 0.0, -np.inf
    for asked, arrivals in sorted(requests, key=lambda request: request[0]):
        busy += max(arrivals[-1] - max(asked, until), 0.0)
        until = max(until, arrivals[-1])
    return float(sum(len(arrivals) for _, arrivals in requests) / busy)
    ### END SOLUTION


def mbu(shapes, cache, lengths, itemsize, tpot, peak):
    """Compute the memory bandwidth utilisation of a decode step, from shapes alone.

    The step has to read all weights once, and the keys and values of every text in the batch.

    Arguments:
        shapes: those of all weights, a list of tuples of integers, such as [(9, 4), (4, 4), (4,)].
        cache: the shape (l, B, n_kv, max_length, H) of the array that holds the keys; values have
            another one like it. There are l layers, B texts, n_kv heads of width H, and room for
            max_length tokens, not all of it taken.
        lengths: how many tokens of each text are in the cache, a list of B integers.
        itemsize: bytes of each number, in weights and cache, an integer.
        tpot: seconds of a step, a float.
        peak: the bandwidth of the memory, in bytes a second, a float.
    Returns: the share of the peak that the step makes use of, a float.
    """
    ### BEGIN SOLUTION
    l, _, n_kv, _, H = cache
    weights = sum(int(np.prod(shape)) for shape in shapes)
    cached = 2 * l * n_kv * H * sum(lengths)
    return itemsize * (weights + cached) / tpot / peak
    ### END SOLUTION


def largest_batch(weight_bytes, cache_bytes, peak, utilisation, limit):
    """Say how many texts may be decoded side by side while a step stays within a limit.

    A step of B texts reads the weights once and B caches, at the rate peak · utilisation; it is
    supposed to wait for nothing but memory.

    Arguments:
        weight_bytes: of all weights, an integer.
        cache_bytes: of the cache of one text, an integer, at least 1.
        peak: the bandwidth of the memory, in bytes a second, an integer.
        utilisation: the MBU that the program reaches, 0 < utilisation <= 1, a float.
        limit: what TPOT may be at most, in seconds, a float.
    Returns: the largest B whose TPOT is at most the limit, an integer; 0 if a single text is too
        much already.

    >>> largest_batch(weight_bytes=600, cache_bytes=100, peak=2000, utilisation=0.5, limit=0.75)
    1
    """
    ### BEGIN SOLUTION
    room = limit * utilisation * peak - weight_bytes
    return max(int(room // cache_bytes), 0)
    ### END SOLUTION


def percentile(values, q):
    """Give the value that about q percent of all values do not exceed.

    The m values, sorted, stand at the places 0 to m − 1, and the percentile at the place
    q/100 · (m − 1). Between two places it lies on the straight line from one value to the next.

    Arguments:
        values: float64 (m,), m at least 1, in any order.
        q: from 0, the smallest value, to 100, the largest; a float.
    Returns: a float.

    >>> percentile(np.array([30.0, 10.0, 20.0]), 75)
    25.0
    """
    ### BEGIN SOLUTION
    ordered = np.sort(values)
    place = q / 100 * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    share = place - below
    return float((1 - share) * ordered[below] + share * ordered[above])
    ### END SOLUTION


def goodput(requests, ttft_limit, gap_limit, q):
    """Count the answers a second that keep a promise.

    An answer keeps it if its TTFT is at most ttft_limit, and the q-th percentile of the gaps
    between its tokens at most gap_limit. An answer of a single token has no gaps, and only its TTFT
    counts. What breaks the promise counts for nothing, but the time goes on.

    Arguments:
        requests: a list of (asked, arrivals), at least one, in any order.
        ttft_limit, gap_limit: seconds, floats.
        q: from 0 to 100, a float.
    Returns: answers that keep the promise, over the seconds from the first request of all to the
        last token of all, a float.
    """
    ### BEGIN SOLUTION
    kept = 0
    for asked, arrivals in requests:
        steady = len(arrivals) == 1 or percentile(np.diff(arrivals), q) <= gap_limit
        kept += bool(arrivals[0] - asked <= ttft_limit and steady)
    first = min(asked for asked, _ in requests)
    last = max(arrivals[-1] for _, arrivals in requests)
    return float(kept / (last - first))
    ### END SOLUTION
