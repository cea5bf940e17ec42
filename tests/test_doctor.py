"""`minigrad doctor`: facts about this machine, the words for them, and the advice."""

import dataclasses
import json
import subprocess

import numpy as np
import pytest

from minigrad.course import cli, doctor, machine

INSTALLED = {name: "2.4" for names in machine.PACKAGES.values() for name in names}
LAPTOP = machine.Facts(
    version="0.1.0",
    root="/home/ada/minigrad",
    system="Linux x86_64",
    cores=4,
    python="3.12.1",
    executable="/home/ada/.venv/bin/python",
    virtual=True,
    packages={**INSTALLED, **dict.fromkeys(machine.PACKAGES["gpu"])},
    blas="scipy-openblas 0.3.31",
    blas_threads=4,
    kernel_threads=4,
    cache="/home/ada/minigrad/minigrad/cpu/__pycache__",
    compiled=12,
    cupy_error="not installed",
)
H100 = dict(
    gpus=(machine.GPU("NVIDIA H100 80GB HBM3", 80 << 30),), driver="580.65.06", cuda=(13, 0)
)
# `python` means this Python where shutil.which finds it; here it does not.
PIP = "/home/ada/.venv/bin/python -m pip"


def laptop(**changes):
    return dataclasses.replace(LAPTOP, **changes)


def report_of(facts):
    """The report on one line, so that it does not matter where its lines are broken."""
    return " ".join(doctor.report(facts).split())


def without(*names, **changes):
    packages = {**LAPTOP.packages, **dict.fromkeys(names)}
    return laptop(packages=packages, **changes)


def test_facts_of_this_machine_are_plain_and_true():
    facts = machine.gather()
    assert facts.packages["numpy"] == np.__version__
    assert facts.packages["pytest"] == pytest.__version__
    assert facts.cores >= 1
    assert facts.blas
    assert json.loads(json.dumps(dataclasses.asdict(facts)))["python"] == facts.python


def test_the_engine_of_this_checkout_works():
    assert machine.engine_error() is None
    assert "it works" in report_of(machine.gather())


def test_kernels_of_this_checkout_can_be_loaded():
    assert machine.kernel_threads() >= 1
    assert machine.kernel_cache()


def test_doctor_reports_on_this_machine(capsys):
    assert cli.main(["doctor"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("Looking at this machine ...\nminigrad ")
    assert f"NumPy {np.__version__}" in shown


def test_doctor_gives_its_facts_as_json(capsys):
    assert cli.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["packages"]["numpy"] == np.__version__


def test_a_healthy_laptop_is_told_to_start():
    report = report_of(LAPTOP)
    assert "minigrad 0.1.0 on Linux x86_64, 4 cores" in report
    assert "3.12.1, in a virtual environment (/home/ada/.venv/bin/python)" in report
    assert "by scipy-openblas 0.3.31 on 4 threads" in report
    assert "on a pool of 4 threads (Python threads without the GIL; no Numba" in report
    assert "12 compiled so far, kept in /home/ada/minigrad/minigrad/cpu/__pycache__" in report
    assert "none, or no NVIDIA driver" in report
    assert report.endswith("Nothing is missing. Start with: minigrad tour")


def test_one_core_is_one_core():
    report = report_of(laptop(cores=1, blas_threads=1, kernel_threads=1))
    assert " 1 core " in report
    assert "on 1 thread " in report
    assert "Nothing is missing" in report


def test_what_is_missing_is_named_with_one_command():
    facts = without("jupyterlab", "tqdm", "nbval")
    (advice,) = doctor.advice(facts)
    assert advice.problem == (
        "Missing: jupyterlab and tqdm, for the notebooks; nbval, for the tests."
    )
    assert advice.command == f'cd /home/ada/minigrad && {PIP} install -e ".[course,test]"'
    assert "jupyterlab (not installed), matplotlib 2.4" in report_of(facts)


def test_an_installed_copy_is_mended_from_the_index():
    (advice,) = doctor.advice(without("matplotlib", root=None))
    assert advice.command == f'{PIP} install "minigrad[course]"'


def test_this_python_is_called_python_where_the_shell_agrees(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: LAPTOP.executable)
    (advice,) = doctor.advice(without("matplotlib", root=None))
    assert advice.command == 'python -m pip install "minigrad[course]"'


def test_paths_with_spaces_survive_the_shell():
    facts = without("tqdm", root="/home/ada/my course", executable="/my env/bin/python")
    (advice,) = doctor.advice(facts)
    assert advice.command.startswith("cd '/home/ada/my course' && '/my env/bin/python' -m pip")


@pytest.mark.parametrize(("cuda", "extra"), [((12, 4), "gpu"), ((13, 0), "gpu-cu13")])
def test_a_gpu_without_cupy_gets_the_extra_that_suits_its_driver(cuda, extra):
    (advice,) = doctor.advice(laptop(**{**H100, "cuda": cuda}))
    assert advice.problem == f"Missing: CuPy for CUDA {cuda[0]}, to compute on the GPU."
    assert advice.command == f'cd /home/ada/minigrad && {PIP} install -e ".[{extra}]"'


def test_a_gpu_and_notebooks_missing_are_still_one_command():
    (advice,) = doctor.advice(without("jupyterlab", **H100))
    assert advice.command.endswith('install -e ".[course,gpu-cu13]"')


def test_a_numpy_that_is_too_new_is_named():
    facts = laptop(packages={**LAPTOP.packages, "numpy": "2.5.2"})
    (advice,) = doctor.advice(facts)
    assert "NumPy 2.0 to 2.4 in place of 2.5.2" in advice.problem
    assert advice.command == f'cd /home/ada/minigrad && {PIP} install -e "."'


def test_a_cupy_for_another_cuda_is_taken_out_first():
    packages = {**LAPTOP.packages, "cupy-cuda12x": "14.2.0"}
    facts = laptop(packages=packages, **{**H100, "cupy_error": "ImportError: libnvrtc.so.12"})
    (advice,) = doctor.advice(facts)
    assert f"{PIP} uninstall --yes cupy-cuda12x && {PIP} install -e" in advice.command
    assert "CuPy: ImportError: libnvrtc.so.12" in report_of(facts)


def test_a_working_gpu_is_described():
    packages = {**LAPTOP.packages, "cupy-cuda13x": "14.2.0"}
    report = report_of(laptop(packages=packages, **{**H100, "cupy_error": None}))
    assert "NVIDIA H100 80GB HBM3 (80 GiB), driver 580.65.06, up to CUDA 13.0; CuPy works" in report
    assert "CuPy 14.2.0 on the GPU" in report
    assert report.endswith("Nothing is missing. Start with: minigrad tour")


def test_a_driver_too_old_is_named_without_a_pip_command():
    (advice,) = doctor.advice(laptop(**{**H100, "driver": "470.82", "cuda": (11, 4)}))
    assert "driver 470.82 is too old" in advice.problem
    assert advice.command == ""


def test_a_thread_limit_of_one_is_named():
    limits = {"MINIGRAD_NUM_THREADS": "4", "OMP_NUM_THREADS": "1"}
    facts = laptop(blas_threads=1, environment=limits)
    (advice,) = doctor.advice(facts)
    assert advice == (
        "Matrix products use one of 4 cores, as OMP_NUM_THREADS says.",
        "unset OMP_NUM_THREADS",
    )
    (advice,) = doctor.advice(laptop(blas_threads=1))
    assert advice.command == "export OPENBLAS_NUM_THREADS=4"


def test_kernels_that_cannot_be_kept_are_named():
    facts = laptop(cache=None, compiled=0)
    (advice,) = doctor.advice(facts)
    assert advice.command.startswith("export NUMBA_CACHE_DIR=")
    assert "compiled anew by every run" in report_of(facts)
    assert "none compiled so far, kept in" in report_of(laptop(compiled=0))


def test_a_number_of_threads_that_is_none_is_named():
    facts = laptop(kernel_threads=None, environment={"MINIGRAD_NUM_THREADS": "many"})
    assert doctor.advice(facts) == [
        ("MINIGRAD_NUM_THREADS=many is not a number.", "unset MINIGRAD_NUM_THREADS")
    ]


def test_no_line_of_the_report_is_wider_than_a_terminal_but_for_paths_and_commands():
    for line in doctor.report(without("tqdm", **H100)).splitlines():
        assert len(line) <= 80 or line.startswith(("  cd ", "Missing: ")), line


def test_settings_that_switch_compilation_off_are_named():
    found = doctor.advice(laptop(environment={"NUMBA_DISABLE_JIT": "1"}))
    assert [advice.command for advice in found] == ["unset NUMBA_DISABLE_JIT"]
    assert doctor.advice(laptop(environment={"NUMBA_DISABLE_JIT": "0"})) == []


def test_an_engine_that_does_not_work_is_reinstalled_and_ends_with_status_1(monkeypatch, capsys):
    broken = laptop(engine_error="ImportError: no numpy here")
    monkeypatch.setattr(machine, "gather", lambda: broken)
    assert cli.main(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "Engine     ImportError: no numpy here" in shown
    assert 'install -e "."' in shown


def test_unknown_threads_are_said_to_be_unknown():
    report = report_of(laptop(blas="accelerate", blas_threads=None, kernel_threads=None))
    assert "by accelerate; the number of its threads is not known" in report
    assert "none could be loaded: every op runs in NumPy" in report


@pytest.mark.parametrize(
    ("answer", "cards", "driver"),
    [
        (
            "NVIDIA H100 80GB HBM3, 81559, 580.65.06\nNVIDIA T4, 15360, 580.65.06\n",
            [("NVIDIA H100 80GB HBM3", 81559 << 20), ("NVIDIA T4", 15360 << 20)],
            "580.65.06",
        ),
        ("NVIDIA GB10, [N/A], 580.95.05\n", [("NVIDIA GB10", 0)], "580.95.05"),
        ("", [], None),
        ("No devices were found\n", [], None),
    ],
)
def test_cards_are_read_from_what_the_driver_says(answer, cards, driver, monkeypatch):
    done = subprocess.CompletedProcess([], 0, stdout=answer)
    monkeypatch.setattr(machine.subprocess, "run", lambda *args, **options: done)
    found, version = machine.nvidia_cards()
    assert [tuple(dataclasses.astuple(card)) for card in found] == cards
    assert version == driver


def test_no_driver_program_means_no_cards(monkeypatch):
    def absent(*args, **options):
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(machine.subprocess, "run", absent)
    assert machine.nvidia_cards() == ((), None)
