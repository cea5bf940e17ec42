"""The tour, as a newcomer starts it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

#: tests share the cores with each other, where BLAS threads only stand in each other's way
ENVIRONMENT = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
TOUR = [sys.executable, "-m", "minigrad.course.cli", "tour"]


def test_the_quick_tour_trains_samples_and_says_what_to_open_next(tmp_path):
    measured = tmp_path / "tour.json"
    result = subprocess.run(
        [*TOUR, "--quick", "--seed", "1", "--json", str(measured)],
        capture_output=True,
        text=True,
        timeout=200,
        env=ENVIRONMENT,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for words in ("greedy", "temperature", "top-k", "top-p", "notebooks/00_start_here.ipynb"):
        assert words in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 88
    story = json.loads(measured.read_text())
    assert story["steps"] == len(story["losses"])
    assert story["held_out"][-1][1] < story["held_out"][0][1] - 0.5
    assert len(set(story["after"].values())) == 4


def test_the_first_words_come_before_anything_heavy_is_imported(tmp_path):
    script = (
        "import sys; from minigrad.course.cli import main\n"
        "sys.stdout.write = lambda text: (_ for _ in ()).throw(SystemExit(\n"
        "    text + ' '.join({'numba', 'matplotlib', 'minigrad.nn'} & set(sys.modules))))\n"
        "main(['tour'])"
    )
    tour = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        env={**ENVIRONMENT, "NUMBA_CACHE_DIR": str(tmp_path)},
    )
    assert "transformer" in tour.stderr
    assert not {"numba", "matplotlib", "minigrad.nn"} & set(tour.stderr.split())


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a POSIX signal")
def test_ctrl_c_leaves_cleanly():
    pipe = subprocess.PIPE
    tour = subprocess.Popen(TOUR, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT)
    for line in tour.stdout:
        if "Now it reads" in line:
            break
    time.sleep(1)
    tour.send_signal(signal.SIGINT)
    out, err = tour.communicate(timeout=60)
    assert tour.returncode == 130
    assert "Stopped" in out
    assert "Traceback" not in out + err
