"""Starting a script as several processes, one a rank, and ending them together."""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE = 5.0  # seconds for the others to end by themselves when one has failed


def engine_of(environment=os.environ):
    """The engine that this process was launched with, or None: told by `minigrad launch`, or "mpi"
    where mpiexec has started it."""
    if told := environment.get("MINIGRAD_ENGINE"):
        return told
    started = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_RANK")
    return "mpi" if any(name in environment for name in started) else None


def launch(command, size, engine):
    """Run ``python command…`` as ``size`` ranks; the exit status, 0 if all of them ended well.

    Raises RuntimeError where the engine's packages or GPUs are missing, and says which.
    """
    if engine == "mpi":
        return _mpi(command, size)
    return _nccl(command, size)


def _mpi(command, size):
    if importlib.util.find_spec("mpi4py") is None:
        raise RuntimeError(
            "the engine 'mpi' needs mpi4py and an MPI library: pip install mpi4py mpich"
        )
    # OpenMPI counts cores; ranks that wait do not need one each.
    environment = {
        **os.environ,
        "MINIGRAD_ENGINE": "mpi",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
    }
    return subprocess.call([mpiexec(), "-n", str(size), sys.executable, *command], env=environment)


def mpiexec():
    """The path of mpiexec: the one beside this Python, or on the path. Raises RuntimeError."""
    beside = Path(sys.executable).parent / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise RuntimeError("there is no mpiexec here; `pip install mpich` brings one")
    return found


def _nccl(command, size):
    try:
        from cupy.cuda import nccl, runtime

        gpus = runtime.getDeviceCount()
    except Exception as error:
        raise RuntimeError(
            "the engine 'nccl' needs CuPy with NCCL and GPUs: pip install 'cupy-cuda12x[ctk]' "
            f"nvidia-nccl-cu12 ({type(error).__name__}: {error})"
        ) from error
    if size > gpus:
        raise RuntimeError(f"{size} ranks need {size} GPUs, one each; this machine has {gpus}")
    identity = bytes(byte % 256 for byte in nccl.get_unique_id()).hex()
    together = {**os.environ, "MINIGRAD_ENGINE": "nccl", "MINIGRAD_SIZE": str(size)}
    together["MINIGRAD_NCCL_ID"] = identity
    together.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")  # so that no stream waits for others
    return watch(
        [
            subprocess.Popen(
                [sys.executable, *command], env={**together, "MINIGRAD_RANK": str(rank)}
            )
            for rank in range(size)
        ]
    )


def watch(processes):
    """Wait for processes, one a rank; the first failure ends them all. The exit status."""
    status = 0
    try:
        while any(process.poll() is None for process in processes):
            failed = [r for r, process in enumerate(processes) if process.poll()]
            if failed:
                status = processes[failed[0]].returncode
                print(
                    f"minigrad launch: rank {failed[0]} ended with status {status}; the others "
                    "are ended, too",
                    file=sys.stderr,
                )
                break
            time.sleep(0.05)
        status = status or max(abs(process.poll() or 0) for process in processes)
    finally:
        _end(processes)
    return abs(status)


def _end(processes):
    """End what still runs: first asked, then killed."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + GRACE
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
