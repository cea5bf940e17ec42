"""What this machine has, gathered as plain data for ``minigrad doctor``."""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import minigrad

PACKAGES = {
    "needed": ("numpy", "numba", "ml_dtypes"),
    "course": ("jupyterlab", "matplotlib", "tqdm", "regex", "safetensors", "jinja2"),
    "test": ("pytest", "nbval", "pytest-xdist", "pytest-timeout", "hypothesis", "import-linter"),
    "gpu": ("cupy-cuda12x", "cupy-cuda13x", "cupy", "numba-cuda"),
}


@dataclass(frozen=True)
class GPU:
    """A graphics card as its driver describes it; memory in bytes."""

    name: str
    memory: int


@dataclass(frozen=True)
class Facts:
    """All that ``minigrad doctor`` speaks of; None is "not there" or "could not be told"."""

    version: str
    root: str | None  # the checkout that holds pyproject.toml, where there is one
    system: str
    cores: int
    python: str
    executable: str
    virtual: bool
    packages: dict[str, str | None]
    blas: str | None
    blas_threads: int | None
    kernel_threads: int | None
    cache: str | None  # the folder of compiled kernels
    compiled: int  # how many it holds
    gpus: tuple[GPU, ...] = ()
    driver: str | None = None
    cuda: tuple[int, int] | None = None  # the newest CUDA version that the driver can run
    cupy_error: str | None = None
    engine_error: str | None = None
    environment: dict[str, str] = field(default_factory=dict)


def gather():
    """The :class:`Facts` of this machine and this Python."""
    packages = {name: version_of(name) for names in PACKAGES.values() for name in names}
    gpus, driver = nvidia_cards()
    blas, blas_threads = blas_library()
    cache = kernel_cache()
    return Facts(
        version=minigrad.__version__,
        root=checkout(),
        system=f"{platform.system()} {platform.machine()}",
        cores=usable_cores(),
        python=platform.python_version(),
        executable=sys.executable,
        virtual=sys.prefix != sys.base_prefix or "CONDA_PREFIX" in os.environ,
        packages=packages,
        blas=blas,
        blas_threads=blas_threads,
        kernel_threads=kernel_threads(),
        cache=cache,
        compiled=len(list(Path(cache).glob("*.nbi"))) if cache else 0,
        gpus=gpus,
        driver=driver,
        cuda=newest_cuda(),
        cupy_error=cupy_error(),
        engine_error=engine_error(),
        environment={name: os.environ[name] for name in SETTINGS if name in os.environ},
    )


SETTINGS = (
    "MINIGRAD_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_CACHE_DIR",
    "NUMBA_DISABLE_JIT",
    "NUMBA_ENABLE_CUDASIM",
    "CUDA_VISIBLE_DEVICES",
)


def version_of(package):
    """The installed version of a package, without importing it; None when it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def checkout():
    """The folder of the checkout that minigrad runs from; None for an installed copy."""
    root = Path(__file__).resolve().parents[2]
    return str(root) if (root / "pyproject.toml").exists() else None


def usable_cores():
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def blas_library():
    """(name and version, threads) of the library behind NumPy's matrix products."""
    import numpy as np

    build = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    if "name" not in build:
        return None, None
    return f"{build['name']} {build.get('version', '')}".strip(), openblas_threads(np)


def openblas_threads(np):
    """The number of threads that NumPy's own OpenBLAS uses; None for another library."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".dylibs"):
        for path in folder.glob("*openblas*"):
            library = ctypes.CDLL(str(path))
            for prefix in ("scipy_", ""):
                for suffix in ("64_", ""):
                    name = f"{prefix}openblas_get_num_threads{suffix}"
                    if hasattr(library, name):
                        return getattr(library, name)()
    return None


def kernel_threads():
    """The number of threads that the CPU kernels share their work among; None without kernels."""
    try:
        from minigrad.cpu import threads

        return threads.num_threads()
    except (ImportError, ValueError):
        return None


def kernel_cache():
    """The folder where compiled CPU kernels are kept; None where Numba finds none to write to."""
    try:
        from minigrad.cpu import activation
    except ImportError:
        return None
    compiled = (kernel for kernel in vars(activation).values() if hasattr(kernel, "stats"))
    return next((kernel.stats.cache_path for kernel in compiled), None)


def nvidia_cards():
    """(GPUs, driver version) from nvidia-smi; ((), None) where there is no NVIDIA driver."""
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version"]
    try:
        answer = subprocess.run(
            [*query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=20,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return (), None
    rows = [[cell.strip() for cell in row.split(",")] for row in answer.splitlines() if row]
    rows = [row for row in rows if len(row) == 3]
    # Memory is "[N/A]" on machines that share it with the processor.
    gpus = [GPU(n, int(m) << 20 if m.isdecimal() else 0) for n, m, _ in rows]
    return tuple(gpus), rows[0][2] if rows else None


def newest_cuda():
    """The newest CUDA version that the driver can run, as (major, minor); None without a driver."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return None
    version = ctypes.c_int()
    if driver.cuDriverGetVersion(ctypes.byref(version)) != 0:
        return None
    return version.value // 1000, version.value % 1000 // 10


def cupy_error():
    """None when CuPy can add on a GPU here, otherwise why not; "not installed" is one reason."""
    if importlib.util.find_spec("cupy") is None:
        return "not installed"
    try:
        import cupy

        total = int(cupy.arange(4).sum())
    except Exception as error:  # whatever a half-installed CUDA raises is the answer looked for
        return first_line(error)
    return None if total == 6 else f"adds 0 + 1 + 2 + 3 to {total}"


def engine_error():
    """None when the engine differentiates x² rightly, otherwise what happened."""
    try:
        slope = float(minigrad.grad(lambda x: x * x)(3.0))
    except Exception as error:  # a doctor reports what hurts, whatever it is
        return first_line(error)
    return None if slope == 6.0 else f"d/dx x² at 3 came out as {slope}, not 6"


def first_line(error):
    """An exception in one line."""
    message = str(error).strip().splitlines()
    return f"{type(error).__name__}: {message[0]}" if message else type(error).__name__
