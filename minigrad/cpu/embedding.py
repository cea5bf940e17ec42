"""Rows of a table, and the gradients that flow back to them."""

import numpy as np

from minigrad.cpu._arrays import check_ids, contiguous, rows_of
from minigrad.cpu._jit import jit
from minigrad.cpu.threads import parallel_rows


class embedding:
    """weight (V, D), integer ids (...) -> weight[ids] (..., D).

    Backward adds up the gradients of equal ids in their order, so it is the same at every run.
    Saved: ids, and an empty array (V, 0) for the number of rows.
    """

    dtypes = ("float32", "float64")

    @staticmethod
    def supports(weight, ids):
        return weight.ndim == 2 and ids.dtype.kind in "iu"

    @staticmethod
    def forward(weight, ids):
        check_ids(ids, len(weight), "ids")
        saved = ids, np.empty((len(weight), 0), weight.dtype)
        return np.take(weight, ids, axis=0, mode="clip"), saved

    @staticmethod
    def backward(g, saved, needs):
        ids, table = saved
        if not needs[0]:
            return None, None
        rows = rows_of(g)
        out = np.zeros((len(table), rows.shape[1]), rows.dtype)
        ids = contiguous(ids.astype(np.int64, copy=False)).reshape(-1)
        # Each thread takes some columns of all rows: no two write to one place.
        cost = 0.1 * len(rows) * rows.itemsize / 4
        parallel_rows(_add_rows, rows.shape[1], ids, rows, out, cost=cost, grain=64)
        return out, None


@jit()
def _add_rows(start, stop, ids, rows, out):
    for i in range(len(ids)):
        row, total = rows[i, start:stop], out[ids[i], start:stop]
        for j in range(row.size):
            total[j] += row[j]
