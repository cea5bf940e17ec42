"""The files in a folder or an archive that nobody trusts, one after another.

Zip and tar files are told apart by their first bytes. All names are checked, all sizes counted
while they are read, whatever headers say; links, devices and the like are named and not read.
"""

import bz2
import contextlib
import gzip
import itertools
import lzma
import os
import stat
import tarfile
import time
import zipfile
from collections.abc import Callable
from typing import NamedTuple

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2")
#: of an archive: its own bytes, entries it may list, bytes and seconds that it takes to read, all
#: with what is left out
MAX_ARCHIVE, MAX_ENTRIES, MAX_UNPACKED, MAX_SECONDS = 25 << 20, 20_000, 200 << 20, 60
MAX_DEPTH, MAX_NAME, MAX_PATH = 16, 255, 1_000
MAX_XZ_MEMORY, MAX_TAR_HEADER = 128 << 20, 8 << 10
PIECE = 1 << 16
FOLDER = "a folder"
KINDS = {
    stat.S_IFDIR: FOLDER,
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

TAR_KINDS = {
    tarfile.DIRTYPE: FOLDER,
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a link",
    tarfile.FIFOTYPE: "a named pipe",
}
#: tar headers that say something about the next one
EXTENDED = {
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
}


class RefusedError(Exception):
    """A submission that is not taken as a whole; the message says why, of "it"."""


class LeftOutError(Exception):
    """One file that is not taken; the message says what it is."""


class Member(NamedTuple):
    """One member: the parts of its name; None or what it is if it is no file; its bytes."""

    parts: tuple
    odd: str | None
    pieces: Callable


def members(path):
    """The members of a folder or archive, each to be read before the next is asked for.

    Raises RefusedError for what no honest archive holds, and OSError if it cannot be opened.
    """
    if path.is_symlink():
        raise RefusedError("it is a symbolic link")
    if path.is_dir():
        yield from _of_folder(path, ())
        return
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size > MAX_ARCHIVE:
            raise RefusedError(f"the archive is larger than {MAX_ARCHIVE >> 20} MB")
        start = file.read(6)
        file.seek(0)
        budget = _Budget()
        with _reading():
            found = _of_zip(file) if start[:2] == b"PK" else _of_tar(file, start, budget)
            for member in found:
                budget.spend(entries=1)
                yield member


@contextlib.contextmanager
def _reading():
    """Turns whatever the reading of an archive may raise into a refusal."""
    try:
        yield
    except (RefusedError, GeneratorExit):
        raise
    except Exception as error:
        raise RefusedError(f"it is damaged, or no archive ({error})") from error


class _Budget:
    """What the reading of an archive may still take; raises RefusedError when it takes more."""

    def __init__(self):
        self.entries, self.bytes = MAX_ENTRIES, MAX_UNPACKED
        self.end = time.monotonic() + MAX_SECONDS

    def spend(self, entries=0, bytes=0):
        """Take off some entries and bytes."""
        self.entries, self.bytes = self.entries - entries, self.bytes - bytes
        if self.entries < 0:
            raise RefusedError(f"it lists more than {MAX_ENTRIES:,} files")
        if self.bytes < 0:
            raise RefusedError(f"it unpacks to more than {MAX_UNPACKED >> 20} MB")
        if time.monotonic() > self.end:
            raise RefusedError(f"it takes more than {MAX_SECONDS} seconds to unpack")


def _parts(name):
    """The parts of a member's name; raises RefusedError if it leads out of the submission."""
    if "\0" in name:
        raise RefusedError(f"the name {name!r} in it has a null character")
    path = name.replace("\\", "/")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if path.startswith("/") or ".." in parts or path[1:2] == ":":
        raise RefusedError(f"the name {name!r} in it leads out of it")
    return _checked(parts)


def _checked(parts):
    """Parts of a name that is not too long; raises RefusedError for any other."""
    sizes = [len(os.fsencode(part)) for part in parts]
    if len(parts) > MAX_DEPTH or max(sizes, default=0) > MAX_NAME or sum(sizes) > MAX_PATH:
        raise RefusedError("it has a name that is too long, or folders that are nested too deep")
    return parts


def _of_folder(folder, above):
    """The members of a folder; never follows a link."""
    try:
        with os.scandir(folder) as entries:
            found = list(itertools.islice(entries, MAX_ENTRIES + 1))
    except PermissionError:
        if not above:
            raise
        return
    if len(found) > MAX_ENTRIES:
        raise RefusedError(f"it holds more than {MAX_ENTRIES:,} files")
    for entry in sorted(found, key=lambda entry: entry.name):
        parts = _checked((*above, entry.name))
        odd = KINDS.get(stat.S_IFMT(entry.stat(follow_symlinks=False).st_mode))
        yield Member(parts, odd, lambda path=entry.path: _pieces_of_file(path))
        if odd == FOLDER and not entry.name.startswith("."):
            yield from _of_folder(entry.path, parts)


def _pieces_of_file(path):
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        with open(path, "rb", opener=lambda path, _: os.open(path, flags)) as file:
            while piece := file.read(PIECE):
                yield piece
    except OSError as error:
        raise LeftOutError(f"not to be read ({error.strerror})") from None


def _pieces(file):
    with _reading():
        while piece := file.read(PIECE):
            yield piece


def _of_zip(file):
    # Every entry has this signature, so that what ZipFile will hold in memory is known before.
    count = sum(piece.count(b"PK\1\2") for piece in iter(lambda: file.read(PIECE), b""))
    if count > MAX_ENTRIES:
        raise RefusedError(f"it lists more than {MAX_ENTRIES:,} files")
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            if info.flag_bits & 1:
                raise RefusedError("it is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise RefusedError("it is compressed in an unusual way; an ordinary zip is needed")
            odd = KINDS.get(stat.S_IFMT(info.external_attr >> 16))
            if info.orig_filename.endswith(("/", "\\")):
                odd = FOLDER
            if parts := _parts(info.orig_filename):
                yield Member(parts, odd, lambda info=info: _pieces_of_zip(archive, info))


def _pieces_of_zip(archive, info):
    with _reading(), archive.open(info) as file:
        yield from _pieces(file)


def _of_tar(file, start, budget):
    stream = _Counted(_opened(file, start), budget)
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as archive:
        for info in archive:
            odd = None if info.isreg() else TAR_KINDS.get(info.type, "a device")
            if parts := _parts(info.name):
                yield Member(parts, odd, lambda info=info: _pieces(archive.extractfile(info)))


class _Header(tarfile.TarInfo):
    """A tar header; those that could fill the memory before a file is seen are refused."""

    def _proc_member(self, archive):
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise RefusedError("it has a sparse file")
        if self.type in EXTENDED and self.size > MAX_TAR_HEADER:
            raise RefusedError(f"it has a header of {self.size:,} bytes")
        return super()._proc_member(archive)

    def _proc_gnusparse_10(self, *_):
        raise RefusedError("it has a sparse file")


def _opened(file, start):
    """The unpacked stream of a compressed file, by its first bytes."""
    if start[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=file)
    if start == b"\xfd7zXZ\0":
        return _Unxz(file)
    return bz2.BZ2File(file) if start[:3] == b"BZh" else file


class _Unxz:
    """An xz file as a stream. LZMAFile would take whatever memory the file asks for."""

    def __init__(self, file):
        self.file, self.machine = file, lzma.LZMADecompressor(lzma.FORMAT_XZ, MAX_XZ_MEMORY)

    def read(self, size):
        """At most ``size`` bytes, none at the end."""
        piece = b""
        while not piece and not self.machine.eof:
            data = self.file.read(PIECE) if self.machine.needs_input else b""
            if not data and self.machine.needs_input:
                raise EOFError("it ends too early")
            piece = self.machine.decompress(data, size)
        return piece


class _Counted:
    """A stream that takes what is read off a budget."""

    def __init__(self, file, budget):
        self.file, self.budget = file, budget

    def read(self, size):
        """At most ``size`` bytes."""
        piece = self.file.read(size)
        self.budget.spend(bytes=len(piece))
        return piece
