"""Numbers of GPUs, and how many blocks find room on a multiprocessor."""

import numpy as np
import pytest

from minigrad.perf import A100, H100, attainable, intensity, least_time, measured, occupancy
from minigrad.perf.results import origin


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "want"),
    [
        (256, 64, 0, (4, 0.5)),
        (1024, 32, 0, (2, 1.0)),
        (256, 33, 0, (6, 0.75)),  # registers come by 256 a warp: 40 a thread
        (32, 32, 0, (32, 0.5)),
        (128, 40, 100_000, (2, 0.125)),
        (100, 32, 0, (16, 1.0)),  # four whole warps
        (1024, 128, 0, (0, 0.0)),
    ],
)
def test_what_runs_out_first_limits_the_blocks_of_an_h100(threads, registers, shared, want):
    assert occupancy(H100, threads, registers, shared) == want


def test_an_a100_has_less_shared_memory():
    assert occupancy(A100, 128, 40, 80_000) == (2, 0.125)
    assert occupancy(A100, 128, 40, 100_000) == (1, 0.0625)


def test_sizes_that_no_kernel_has_are_refused():
    with pytest.raises(ValueError, match="0 threads"):
        occupancy(H100, 0, 32)


def test_peaks_follow_from_units_and_clock():
    assert H100.sms * 128 * 2 * H100.clock == pytest.approx(H100.float32, rel=0.01)
    assert A100.sms * 64 * 2 * A100.clock == pytest.approx(A100.float32, rel=0.01)
    assert A100.shared_bandwidth == pytest.approx(19.5e12, rel=0.01)


RESULTS = """# Measured

Made by `a command`.

## matmul fp32

The ladder.

A GPU, driver 1, commit abc;
Python 3.12.

| Kernel | Size | ms | Rate |
|---|---|---|---|
| naive | 4,096^3 | 100.000 | 1.4 TFLOP/s |
| tile | 4,096^3 |  | 8.0 TFLOP/s |

## flash

| Kernel | ms |
|---|---|
| forward | 1.0 |
"""


def test_measured_results_are_read_by_section(tmp_path):
    path = tmp_path / "RESULTS.md"
    path.write_text(RESULTS)
    rows = measured("matmul fp32", path)
    assert [row["Kernel"] for row in rows] == ["naive", "tile"]
    assert rows[1] == {"Kernel": "tile", "Size": "4,096^3", "ms": "", "Rate": "8.0 TFLOP/s"}
    assert measured("flash", path) == [{"Kernel": "forward", "ms": "1.0"}]
    assert origin("matmul fp32", path) == "A GPU, driver 1, commit abc; Python 3.12."
    with pytest.raises(KeyError, match="it has matmul fp32, flash"):
        measured("decode", path)


def test_the_roof_is_the_lower_of_slope_and_peak():
    reached = attainable(np.array([0.1, 20.0, 1000.0]), H100.float32, H100.bandwidth)
    np.testing.assert_allclose(reached, [0.335e12, 66.9e12, 66.9e12], rtol=1e-12)


def test_work_waits_for_what_takes_longer():
    product = 2 * 4096**3, 2 * 3 * 4096**2
    seconds, limit = least_time(*product, H100.float16, H100.bandwidth)
    assert limit == "math"
    assert seconds == product[0] / H100.float16
    assert intensity(*product) == pytest.approx(4096 / 3)
    seconds, limit = least_time(1, 12, H100.float32, H100.bandwidth)
    assert (seconds, limit) == (12 / H100.bandwidth, "memory")
    assert least_time(8, 4, 2.0, 1.0) == (4.0, "memory")  # as long: arithmetic is not longer
