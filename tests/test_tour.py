"""The tour, as a newcomer starts it."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

TOUR = [sys.executable, "-m", "minigrad.course.cli", "tour", "--quick"]


def test_the_quick_tour_trains_samples_and_says_what_to_open_next(tmp_path):
    measured = tmp_path / "tour.json"
    result = subprocess.run(
        [*TOUR, "--seed", "1", "--json", str(measured)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for words in ("greedy", "temperature", "top-k", "top-p", "notebooks/00_start_here.ipynb"):
        assert words in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 88
    story = json.loads(measured.read_text())
    assert story["steps"] == len(story["losses"])
    assert story["held_out"][-1][1] < story["held_out"][0][1] - 0.5
    assert len(story["after"]) == 4
    assert len(set(story["after"].values())) == 4


def test_the_first_words_come_before_anything_is_imported_or_compiled(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    begun = time.monotonic()
    tour = subprocess.Popen(TOUR, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        words = tour.stdout.readline()
        waited = time.monotonic() - begun
    finally:
        tour.kill()
        tour.wait()
        tour.stdout.close()
    assert "transformer" in words
    assert waited < 3 * float(os.environ.get("MINIGRAD_TEST_PATIENCE", "3"))


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a POSIX signal")
def test_ctrl_c_leaves_cleanly():
    tour = subprocess.Popen([*TOUR[:-1]], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in tour.stdout:
        if "Repeat" in line or "it writes" in line:
            break
    time.sleep(1)
    tour.send_signal(signal.SIGINT)
    out, err = tour.communicate(timeout=30)
    assert tour.returncode == 130
    assert "Stopped" in out
    assert "Traceback" not in out + err
