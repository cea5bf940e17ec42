"""Whether this machine has a GPU."""

import importlib.util


def gpu_works():
    """Whether CuPy is installed and can compute a sum on a GPU."""
    if importlib.util.find_spec("cupy") is None:
        return False
    try:
        import cupy

        return int(cupy.arange(3).sum()) == 3
    except Exception:
        return False
