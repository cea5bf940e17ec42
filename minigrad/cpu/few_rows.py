"""Pieces of a product of a few rows with a large matrix: what one thread does at a time.

All the time goes into reading the matrix, so each number of it is read once, in the order in which
it lies in memory, and used for all rows.
"""

from minigrad.cpu._jit import SUMS, inner


@inner(SUMS)
def add_rows(x, w, first, last, left, right, out):
    """out[:, left:right] = the sum over k from first to last of x[:, k] w[k, left:right].

    x (M, K), w (K, N) and out (M, N), C-contiguous. Four k at a time, so that the totals are read
    and written less often.
    """
    n = right - left
    for m in range(len(x)):
        total = out[m, left:right]
        for j in range(n):
            total[j] = 0
    whole = first + (last - first) // 4 * 4
    for k in range(first, whole, 4):
        a, b = w[k, left:right], w[k + 1, left:right]
        c, d = w[k + 2, left:right], w[k + 3, left:right]
        for m in range(len(x)):
            total, p, q, r, s = out[m, left:right], x[m, k], x[m, k + 1], x[m, k + 2], x[m, k + 3]
            for j in range(n):
                total[j] += p * a[j] + q * b[j] + r * c[j] + s * d[j]
    for k in range(whole, last):
        a = w[k, left:right]
        for m in range(len(x)):
            total, p = out[m, left:right], x[m, k]
            for j in range(n):
                total[j] += p * a[j]


@inner(SUMS)
def dot_rows(x, w, first, last, out):
    """out[m, n] = x[m] · w[n] for n from first to last; x (M, K), w (N, K), out (M, N)."""
    for n in range(first, last):
        row = w[n]
        for m in range(len(x)):
            left = x[m]
            total = row.dtype.type(0)
            for k in range(row.size):
                total += left[k] * row[k]
            out[m, n] = total


@inner()
def add_up(sums, out):
    """out = the sum of the rows of sums (P, n), in their order."""
    for j in range(out.size):
        out[j] = sums[0, j]
    for p in range(1, len(sums)):
        row = sums[p]
        for j in range(out.size):
            out[j] += row[j]
