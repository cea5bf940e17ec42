"""Matrix products, rung by rung, against cuBLAS."""

import cupy
import numpy as np

from kernels import matmul, matmul_tensor
from kernels.bench.measure import Row, error, milliseconds, normal, require, section, told


@section("matmul fp32")
def single():
    """The ladder in float32 at 4096^3 against cuBLAS without TF32."""
    yield from ladder(matmul.LADDER, 4096, np.float32, 1e-5, 0.8)


@section("matmul fp16")
def half():
    """The ladder on tensor cores at 8192^3 against cuBLAS, float16 in and out."""
    yield from ladder(matmul_tensor.LADDER, 8192, np.float16, 1e-3, 0.5)


def ladder(rungs, n, dtype, most, must):
    """Each rung on n x n matrices, checked in float64 on 256 rows of its answer; last the host
    function, which must reach that share."""
    a, b = normal(n, n, dtype=dtype), normal(n, n, dtype=dtype)
    pick = cupy.random.permutation(n)[:256]
    want = a[pick].astype(cupy.float64) @ b.astype(cupy.float64)
    c = cupy.empty((n, n), dtype)
    size = f"{n:,}^3, {np.dtype(dtype).name}"
    theirs = milliseconds(lambda: cupy.matmul(a, b, out=c))
    yield Row("cuBLAS", size, theirs, rate(n, theirs), "-", None, error=error(c[pick], want))
    before = None
    for rung in rungs:
        c.fill(np.nan)
        rung.launch(a, b, c)
        wrong = require(rung.name, error(c[pick], want), most)
        ms = milliseconds(lambda rung=rung: rung.launch(a, b, c), least=5)
        note = told(rung, before, ms)
        yield Row(rung.name, size, ms, rate(n, ms), "cuBLAS", theirs / ms, None, wrong, note)
        before = ms
    out = matmul.matmul(a, b)
    wrong = require("matmul", error(out[pick], want), most)
    ms = milliseconds(lambda: matmul.matmul(a, b, out=c))
    again = milliseconds(lambda: cupy.matmul(a, b, out=c))  # a chip that has grown warm is slower
    peer = f"cuBLAS, again: {rate(n, again)}"
    yield Row("matmul()", size, ms, rate(n, ms), peer, again / ms, must, wrong)


def rate(n, ms):
    return f"{2 * n**3 / ms / 1e9:.1f} TFLOP/s"
