"""Real processes: the cases of every engine on MPI, and how a job ends that cannot go on."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from distributed_cases import Case

from minigrad import distributed as dist
from minigrad.course import cli
from minigrad.distributed import launching

HERE = Path(__file__).parent


def launched(*command, size=4, engine="mpi", seconds=240):
    """The finished `minigrad launch`."""
    return subprocess.run(
        [sys.executable, "-m", "minigrad.course.cli", "launch", "-n", str(size), "--engine", engine]
        + [str(part) for part in command],
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def script(tmp_path, body):
    path = tmp_path / "script.py"
    lines = ["import numpy as np", "from minigrad import distributed as dist"]
    path.write_text("\n".join([*lines, textwrap.dedent(body)]))
    return path


@pytest.mark.reference
def test_every_case_holds_on_four_processes():
    pytest.importorskip("mpi4py")
    done = launched(HERE / "on_ranks.py")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.strip().splitlines()
    assert len(lines) == sum(1 for _ in all_cases()) and "needs" not in done.stdout


@pytest.mark.reference
def test_every_case_holds_on_the_calls_of_nccl():
    """The NCCL engine with MPI in NCCL's place; with GPUs,
    ``minigrad launch -n 4 --engine nccl tests/on_ranks.py`` is the same on them."""
    pytest.importorskip("mpi4py")
    path = os.pathsep.join([str(HERE / "stand_in"), str(HERE.parent)])
    environment = {**os.environ, "PYTHONPATH": path, "MINIGRAD_ENGINE": "nccl"}
    command = [launching.mpiexec(), "-n", "4", sys.executable, HERE / "on_ranks.py"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.strip().splitlines()) == sum(1 for _ in all_cases())


def all_cases():
    sys.path.insert(0, str(HERE))
    import on_ranks

    return on_ranks.cases()


def test_cases_fit_on_four_ranks_and_check_something():
    for name, case in all_cases():
        assert isinstance(case, Case) and 1 <= case.size <= 4, name
        with pytest.raises((AssertionError, AttributeError, LookupError, TypeError, ValueError)):
            case.check([None] * case.size)


WRONG = {
    "a call left out": (
        "dist.run(lambda c: c.rank == 2 or c.all_reduce(np.ones(2)), 4)",
        "calls all_reduce(float64 (2,), op='sum') at script.py:3, rank 2 has returned",
    ),
    "another collective": (
        "dist.run(lambda c: c.barrier() if c.rank else c.all_reduce(np.ones(2)), 4)",
        "ranks do not agree: rank 0 calls all_reduce",
    ),
    "another dtype": (
        "dist.run(lambda c: c.all_reduce(np.ones(2, 'f4' if c.rank == 3 else 'f8')), 4)",
        "rank 3 calls all_reduce(float32 (2,)",
    ),
    "a rank that raises": (
        "dist.run(lambda c: c.barrier() or c.rank == 1 and 1 / 0 or c.all_reduce(np.ones(2)), 4)",
        "rank 1 raised ZeroDivisionError: division by zero",
    ),
    "a message of another size": (
        """
        def main(c):
            if c.rank == 0: c.send(np.ones(3), 1)
            if c.rank == 1: c.recv(np.ones(2), 0)
        dist.run(main, 4)""",
        "recv: rank 0 sent more bytes, rank 1 expected float64 (2,), 16 bytes",
    ),
    "a group that does not agree": (
        """
        def main(c):
            half = c.split(c.rank // 2)
            half.all_reduce(np.ones(2 + c.rank % 2 if c.rank < 2 else 2))
        dist.run(main, 4)""",
        "rank 1 calls all_reduce(float64 (3,)",
    ),
    "rows that nobody sends": (
        "dist.run(lambda c: c.all_to_all_rows(np.ones(4), [1] * 4, [1, 1, 1, 1 + c.rank % 2]), 4)",
        "rank 3 sends 1 rows to rank 1, which expects 2",
    ),
    "a result that cannot travel": (
        "dist.run(lambda c: (lambda: 0) if c.rank == 1 else 0, 4)",
        "rank 1 of 4 raised this",
    ),
    "another size": ("dist.run(print, 3)", "size is 3, and 4 processes started; `minigrad launch"),
    "nested": ("dist.run(lambda c: dist.run(print), 4)", "a rank cannot begin another run"),
}


@pytest.mark.reference
@pytest.mark.parametrize("name", WRONG)
def test_ranks_that_cannot_go_on_end_and_say_why(tmp_path, name):
    pytest.importorskip("mpi4py")
    body, words = WRONG[name]
    begin = time.monotonic()
    done = launched(script(tmp_path, body), seconds=60)
    assert done.returncode != 0
    assert words in done.stderr, done.stderr
    assert time.monotonic() - begin < 40


@pytest.mark.reference
def test_a_rank_that_dies_ends_the_job(tmp_path):
    pytest.importorskip("mpi4py")
    body = "import os\ndist.run(lambda c: os._exit(3) if c.rank == 2 else c.recv(np.ones(2), 2), 4)"
    begin = time.monotonic()
    assert launched(script(tmp_path, body), seconds=60).returncode != 0
    assert time.monotonic() - begin < 40


@pytest.mark.reference
def test_a_script_needs_to_know_neither_size_nor_engine(tmp_path):
    pytest.importorskip("mpi4py")
    body = """
        run = dist.run(lambda comm: (comm.rank, comm.engine, comm.all_reduce(np.ones(1))[0]))
        assert [r for r, _, _ in run] == [0, 1, 2] and {e for _, e, _ in run} == {"mpi"}
        assert all(total == 3 for _, _, total in run)
    """
    done = launched(script(tmp_path, body), size=3)
    assert done.returncode == 0, done.stderr


@pytest.mark.reference
def test_a_nan_is_the_largest_and_the_smallest(tmp_path):
    """Of MPI's own, which compares in an order of its own, ranks would keep different numbers."""
    pytest.importorskip("mpi4py")
    body = """
        x = lambda c: np.where(np.arange(3) == c.rank, np.nan, c.rank)
        for op in ("max", "min"):
            assert np.isnan(list(dist.run(lambda c: c.all_reduce(x(c), op)))).all()
    """
    done = launched(script(tmp_path, body), size=3)
    assert done.returncode == 0, done.stderr


@pytest.mark.reference
def test_communicators_do_not_run_out(tmp_path):
    """MPICH has about 2,000 of them."""
    pytest.importorskip("mpi4py")
    body = """
        for _ in range(500):
            dist.run(lambda c: [c.split(c.rank).barrier() for _ in range(5)])
        dist.run(lambda c: [c.split(0).barrier() for _ in range(1500)])
    """
    done = launched(script(tmp_path, body), size=2)
    assert done.returncode == 0, done.stderr


# ---------------------------------------------------------------- without MPI


def test_engines_that_are_not_there_say_what_to_install(monkeypatch):
    for name in ("mpi4py", "cupy"):
        monkeypatch.setitem(sys.modules, name, None)
    for module in ("mpi", "nccl"):
        monkeypatch.delitem(sys.modules, f"minigrad.distributed.{module}", raising=False)
    with pytest.raises(ImportError, match="needs mpi4py and an MPI library"):
        dist.run(print, 2, engine="mpi")
    with pytest.raises(ImportError, match="needs CuPy and NCCL: pip install 'cupy-cuda12x"):
        dist.run(print, 2, engine="nccl")


def test_the_launcher_says_what_is_missing(monkeypatch, capsys):
    assert cli.main(["launch", "-n", "0", "script.py"]) == 2
    assert "-n is 0, not 1 or more" in capsys.readouterr().err
    assert cli.main(["launch", "-n", "2"]) == 2
    assert "no script is given" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setitem(sys.modules, "cupy.cuda", None)
    assert cli.main(["launch", "-n", "2", "--engine", "nccl", "script.py"]) == 2
    assert "needs CuPy with NCCL and GPUs" in capsys.readouterr().err
    monkeypatch.setattr(launching.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["launch", "-n", "2", "--engine", "mpi", "script.py"]) == 2
    assert "pip install mpi4py mpich" in capsys.readouterr().err


def test_the_first_failure_ends_the_other_processes(capsys):
    def python(code):
        return subprocess.Popen([sys.executable, "-c", code])

    begin = time.monotonic()
    long = "import time; time.sleep(60)"
    processes = [python(long), python("raise SystemExit(7)"), python(long)]
    assert launching.watch(processes) == 7
    assert all(process.poll() is not None for process in processes)
    assert "rank 1 ended with status 7" in capsys.readouterr().err
    assert time.monotonic() - begin < 20
    assert launching.watch([python("pass"), python("pass")]) == 0


@pytest.mark.parametrize(
    ("environment", "engine"),
    [
        ({}, None),
        ({"MINIGRAD_ENGINE": "nccl", "PMI_SIZE": "4"}, "nccl"),
        ({"PMI_SIZE": "4"}, "mpi"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "mpi"),
    ],
)
def test_how_a_process_knows_that_it_was_launched(environment, engine):
    assert launching.engine_of(environment) == engine
