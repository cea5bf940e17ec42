"""What students hand in: found, and laid out as plain files that a judge can show to its sandbox.

A submission is a folder or an archive. Nothing in it is trusted, not a name, size or header:
what is not a regular file inside it is left out, everything is counted while it is copied, and
no Python file is imported or compiled here.
"""

import contextlib
import difflib
import errno
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from minigrad.course import unpacking
from minigrad.course.unpacking import ENDINGS, LeftOutError, RefusedError
from minigrad.sandbox.worker import MAX_SOURCE

MAX_FILES, MAX_BYTES = 2_000, 20 << 20
#: folders that editors and archivers leave behind; hidden ones are left out too
LEFT_OVER = {"__MACOSX", "__pycache__"}
#: what a file system says to a name that it does not take
BAD_NAME = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}


class SubmissionError(Exception):
    """There is nothing to grade where submissions should be."""


@dataclass(frozen=True)
class Submission:
    """What one student handed in: a name that no other submission has, and a folder or archive."""

    student: str
    path: Path


@dataclass(frozen=True)
class LaidOut:
    """A submission as plain files: the folder of its answers, and {exercise: why it has none}."""

    folder: Path
    refused: dict


def find(paths, exercises):
    """The submissions that some paths mean, in order.

    A path is a submission itself (an archive, or a folder with exercise files in it or in its
    ``exercises``) or a folder of submissions, whose folders and archives are one each. If several
    paths are given, one that holds nothing but a folder of exercise files is a submission too.

    Args:
        paths: as typed by the instructor.
        exercises: names of all exercises of the course.

    Raises SubmissionError if one does not exist, or if there is no submission at all.
    """
    files = {f"{name}.py" for name in exercises}
    found, seen = [], set()
    for path in map(Path, paths):
        for name, place in _at(path, files, len(paths) > 1):
            # What the instructor names may be a link; what lies in a folder of submissions not.
            place = place.resolve() if place == path else path.resolve() / place.name
            if place not in seen:
                seen.add(place)
                found.append((name, place))
    if not found:
        raise SubmissionError(f"no submission in {', '.join(map(str, paths))}")
    names, places = zip(*found)
    return [Submission(name, place) for name, place in zip(_told_apart(names), places)]


def _at(path, files, several):
    """(name, path) of the submissions at one path."""
    if not path.exists():
        raise SubmissionError(f"no such file or folder: {path}")
    if not path.is_dir():
        if not _is_archive(path.name):
            raise SubmissionError(
                f"{path} is no submission: a folder, or one of *{', *'.join(ENDINGS)}"
            )
        return [(_stem(path.name), path)]
    children = sorted(child for child in path.iterdir() if _is_candidate(child))
    wrapped = several and len(children) == 1 and _holds(children[0], files)
    if wrapped or _holds(path, files):
        return [(os.path.basename(os.path.abspath(path)), path)]
    return [(child.name if child.is_dir() else _stem(child.name), child) for child in children]


def _is_candidate(child):
    """Whether something in a folder of submissions is one."""
    if child.name.startswith(".") or child.name in LEFT_OVER:
        return False
    return child.is_dir() or _is_archive(child.name)


def _holds(folder, files):
    """Whether a folder, or its ``exercises``, holds an exercise's file."""
    return any(
        os.path.lexists(place / f) for place in (folder, folder / "exercises") for f in files
    )


def _is_archive(name):
    return name.lower().endswith(ENDINGS)


def _stem(name):
    ending = max((e for e in ENDINGS if name.lower().endswith(e)), key=len)
    return name[: -len(ending)] or name


def _told_apart(names):
    """Names as text, with a number behind those that an earlier one has already."""
    texts = [os.fsencode(name).decode("utf-8", "backslashreplace") for name in names]
    taken, told = set(texts), []
    for i, text in enumerate(texts):
        name, number = text, 1
        if text in texts[:i]:
            while name in taken:
                number += 1
                name = f"{text} ({number})"
        taken.add(name)
        told.append(name)
    return told


@contextlib.contextmanager
def laid_out(submission, exercises, parent):
    """A submission's files in a fresh folder, as a LaidOut; removed afterwards.

    Args:
        submission: a Submission.
        exercises: names of all exercises of the course.
        parent: where the folder is made; its name cannot be guessed.

    Raises OSError when this machine is to blame: a full disk, an archive that may not be read.
    """
    root = Path(tempfile.mkdtemp(dir=parent))
    try:
        os.chmod(root, 0o755)
        stage = _Stage(root, {f"{name}.py" for name in exercises})
        try:
            for member in unpacking.members(_packed(submission.path, stage.files)):
                stage.add(member)
            base = stage.base()
        except RefusedError as refusal:
            yield LaidOut(root, dict.fromkeys(exercises, f"the submission is refused: {refusal}"))
        else:
            reasons = {name: stage.missing(base, f"{name}.py") for name in exercises}
            yield LaidOut(root.joinpath(*base), {n: why for n, why in reasons.items() if why})
    finally:
        _remove(root)


def _packed(path, files):
    """The archive in a folder that holds just that, as some systems hand it on; else the path."""
    if path.is_symlink() or not path.is_dir() or _holds(path, files):
        return path
    children = [child for child in path.iterdir() if _is_candidate(child)]
    alone = len(children) == 1 and not children[0].is_dir()
    return children[0] if alone else path


def _remove(root):
    """Remove a folder, whatever has become of the permissions in it."""
    shutil.rmtree(root, ignore_errors=True)
    if root.exists():
        root.chmod(0o700)
        for folder, inner, _ in os.walk(root):
            for name in inner:
                os.chmod(os.path.join(folder, name), 0o700)
        shutil.rmtree(root)


@dataclass
class _Stage:
    """The folder that a submission is copied to, and how much it holds already.

    ``there`` is {place: None or why it is no file} of all that is named as an exercise is.
    """

    root: Path
    files: set
    there: dict = field(default_factory=dict)
    count: int = 0
    size: int = 0

    def add(self, member):
        """Copy one member of a submission; raises RefusedError where it must not be there."""
        if any(part.startswith(".") or part in LEFT_OVER for part in member.parts):
            return
        self.count += 1
        if self.count > MAX_FILES:
            raise RefusedError(f"it holds more than {MAX_FILES:,} files")
        if not member.odd:
            odd = self._copy(member)
        elif member.odd == unpacking.FOLDER:
            odd = self._folder(member.parts) or member.odd
        else:
            odd = member.odd
        if member.parts[-1] in self.files:
            self.there[member.parts] = odd

    def _folder(self, parts):
        """Make a folder and those around it."""
        folder = self.root
        for part in parts:
            folder /= part
            if folder.is_file():
                raise RefusedError(f"{'/'.join(parts)!r} is a file and a folder")
            if not folder.exists():
                folder.mkdir()
                folder.chmod(0o755)

    def _copy(self, member):
        """Copy a file; returns why it is left out, or None."""
        target = self.root.joinpath(*member.parts)
        try:
            self._folder(member.parts[:-1])
            with open(target, "wb") as file:
                os.chmod(target, 0o644)
                self._fill(file, member, self.files.intersection(member.parts[-1:]))
        except LeftOutError as reason:
            target.unlink()
            return str(reason)
        except OSError as error:
            if isinstance(error, IsADirectoryError):
                raise RefusedError(f"{'/'.join(member.parts)!r} is a file and a folder") from None
            if error.errno in BAD_NAME:
                raise RefusedError("a name in it cannot be written on this machine") from None
            raise
        return None

    def _fill(self, file, member, is_answer):
        length = 0
        for piece in member.pieces():
            length += len(piece)
            self.size += len(piece)
            if is_answer and length > MAX_SOURCE:
                raise LeftOutError(f"more than {MAX_SOURCE:,} bytes long")
            if self.size > MAX_BYTES:
                raise RefusedError(f"it holds more than {MAX_BYTES >> 20} MB")
            file.write(piece)

    def base(self):
        """The folder of the answers, as parts: the submission itself, or what is wrapped in it."""
        folders = {parts[:-1] for parts in self.there}
        for likely in ((), ("exercises",)):
            if likely in folders or not folders:
                return likely
        wrapped = {f for f in folders if len(f) == 1 or (len(f) == 2 and f[1] == "exercises")}
        wrappers = sorted({folder[0] for folder in wrapped})
        if len(wrappers) > 1:
            raise RefusedError(f"exercises lie in several folders: {', '.join(wrappers)}")
        return min(wrapped, default=())

    def missing(self, base, file):
        """Why there is no answer in a file, or None if there is one."""
        if (*base, file) in self.there:
            odd = self.there[*base, file]
            return odd and f"{file} is {odd}"
        others = sorted({each.name for each in self.root.joinpath(*base).glob("*.py")} - self.files)
        near = difflib.get_close_matches(file, others, n=1, cutoff=0.8)
        return f"{file} is not there" + (f", though {near[0]!r} is" if near else "")
