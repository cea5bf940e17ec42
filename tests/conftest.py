"""What every test shares: the devices of this machine and how many cases hypothesis draws.

`pytest --hypothesis-profile=thorough` draws far more; both profiles draw the same cases each time.
"""

import os

import pytest
from gpu import gpu_works
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several workers share the cores. A BLAS that splits small products among threads as well
    # waits for threads that have no core: up to ten times longer. NumPy is not loaded yet.
    for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(name, "1")

DETERMINISTIC = dict(
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile("quick", max_examples=10, **DETERMINISTIC)
settings.register_profile("thorough", max_examples=200, **DETERMINISTIC)
settings.load_profile("quick")


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)] if gpu_works() else ["cpu"]


@pytest.fixture(scope="session", params=DEVICES)
def device(request):
    """Each device that this machine has: "cpu", and "cuda" where CuPy works."""
    return request.param


@pytest.fixture(scope="session")
def xp(device):
    """The array module of `device`: NumPy or CuPy."""
    if device == "cpu":
        import numpy

        return numpy
    import cupy

    return cupy
