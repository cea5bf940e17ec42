"""What students hand in is found, named and laid out as plain files, whatever is in it."""

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import time
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import graded_course
import pytest

from minigrad.course import submissions, unpacking

NAMES = ["ex01_sums", "ex02_shifts"]
SUMS = "def double(x):\n    return 2 * x\n"
HERE = {"ex01_sums.py": SUMS, "ex02_shifts.py": "# shifts\n"}


@pytest.fixture
def staging(tmp_path):
    folder = tmp_path / "staging"
    folder.mkdir()
    return folder


def laid_out(path, staging):
    """({place: content} of the answers' folder, {exercise: why it is refused})."""
    with submissions.laid_out(submissions.Submission("s", path), NAMES, staging) as found:
        files = {
            str(each.relative_to(found.folder)): each.read_bytes().decode("latin-1")
            for each in found.folder.rglob("*")
            if each.is_file()
        }
        return files, found.refused


def students(*paths):
    return [(each.student, each.path.name) for each in submissions.find(paths, NAMES)]


def zipped(path, files, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content, **options)
    return path


def tarred(path, files, mode="w", **fields):
    """A tar file; ``fields`` are set in the headers of all members."""
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for field, value in fields.items():
                setattr(info, field, value)
            archive.addfile(info, io.BytesIO(data))
    return path


def refusal(path, staging):
    """Why a submission is refused as a whole."""
    with submissions.laid_out(submissions.Submission("s", path), NAMES, staging) as found:
        refused = found.refused
    assert set(refused) == set(NAMES)
    (reason,) = set(refused.values())
    assert not list(staging.iterdir())
    return reason


def test_a_folder_of_submissions_holds_folders_and_archives(tmp_path):
    for name in ("bob", "alice", ".hidden", "__MACOSX", "carol/exercises", "dora/homework"):
        graded_course.fill(tmp_path / name, HERE)
    (tmp_path / "empty").mkdir()
    graded_course.fill(tmp_path, {"readme.txt": "", "ex01.py": "", "list.csv": ""})
    for name in (
        "eve.zip",
        "eve.x.tar.gz",
        "FAY.ZIP",
        "gus.tgz",
        "hal.tar.xz",
        "ida.tar",
        ".z.zip",
    ):
        graded_course.fill(tmp_path, {name: b""})
    expected = [
        "FAY",
        "alice",
        "bob",
        "carol",
        "dora",
        "empty",
        "eve.x",
        "eve",
        "gus",
        "hal",
        "ida",
    ]
    assert [student for student, _ in students(tmp_path)] == expected


def test_a_path_can_be_a_submission_itself(tmp_path, monkeypatch):
    graded_course.fill(tmp_path / "alice", HERE)
    graded_course.fill(tmp_path / "bob" / "exercises", {"ex02_shifts.py": ""})
    archive = zipped(tmp_path / "carol.zip", HERE)
    paths = [tmp_path / "bob", archive, tmp_path / "alice"]
    assert [student for student, _ in students(*paths)] == ["bob", "carol", "alice"]
    monkeypatch.chdir(tmp_path / "alice")
    assert students(".") == [("alice", "alice")]
    (tmp_path / "link").symlink_to(tmp_path / "alice")
    assert students(tmp_path / "link") == [("link", "alice")]


def test_a_lone_folder_is_one_student_of_a_class_or_a_wrapper_among_several_paths(tmp_path):
    for name in ("class/alice", "bob/homework", "carol/homework"):
        graded_course.fill(tmp_path / name, HERE)
    assert students(tmp_path / "class") == [("alice", "alice")]
    assert students(tmp_path / "bob", tmp_path / "carol") == [("bob", "bob"), ("carol", "carol")]


def test_equal_names_are_told_apart_and_equal_places_taken_once(tmp_path):
    for name in ("a/kim", "a/lee", "b/kim", "b/kim (2)"):
        graded_course.fill(tmp_path / name, HERE)
    zipped(tmp_path / "b" / "kim.zip", HERE)
    found = students(tmp_path / "a", tmp_path / "b", tmp_path / "a" / "kim")
    assert [name for name, _ in found] == ["kim", "lee", "kim (3)", "kim (2)", "kim (4)"]


def test_names_of_any_characters_are_kept_or_spelled_out(tmp_path):
    names = ['=1+1, "x"', "ü 山田", "a\nb", "-x"]
    for name in names:
        graded_course.fill(tmp_path / name, HERE)
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9")
    assert {name for name, _ in students(tmp_path)} == {*names, "caf\\xe9"}


def test_what_is_no_submission_is_said(tmp_path):
    graded_course.fill(tmp_path, {"notes.txt": ""})
    with pytest.raises(submissions.SubmissionError, match=r"no such file or folder: .*nowhere"):
        students(tmp_path / "nowhere")
    with pytest.raises(submissions.SubmissionError, match=r"notes\.txt is no submission"):
        students(tmp_path / "notes.txt")
    with pytest.raises(submissions.SubmissionError, match="no submission in"):
        students(tmp_path)


ARCHIVES = {
    "a.zip": lambda path, files: zipped(path, files),
    "a.tar": lambda path, files: tarred(path, files),
    "a.tar.gz": lambda path, files: tarred(path, files, "w:gz"),
    "a.tgz": lambda path, files: tarred(path, files, "w:gz"),
    "a.tar.xz": lambda path, files: tarred(path, files, "w:xz"),
    "a.tar.bz2": lambda path, files: tarred(path, files, "w:bz2"),
    "mislabelled.zip": lambda path, files: tarred(path, files, "w:gz"),
    "folder": graded_course.fill,
}


@pytest.mark.parametrize("kind", ARCHIVES)
@pytest.mark.parametrize("base", ["", "exercises/", "homework 1/", "homework 1/exercises/"])
def test_every_kind_of_submission_is_laid_out_the_same(tmp_path, staging, kind, base):
    files = {"ex01_sums.py": SUMS, "helper/inner.py": "ä = 5\n", "data.bin": "\0\n\r\n"}
    extra = {".git/config": "x", "helper/__pycache__/inner.pyc": "x", ".DS_Store": "x"}
    names = {base + name: content for name, content in {**files, **extra}.items()}
    path = ARCHIVES[kind](tmp_path / kind, {**names, "__MACOSX/._ex02_shifts.py": "x"})
    found, refused = laid_out(path, staging)
    expected = {name: content.encode().decode("latin-1") for name, content in files.items()}
    assert found == expected
    assert refused == {"ex02_shifts": "ex02_shifts.py is not there"}
    assert not list(staging.iterdir())


def test_all_that_is_laid_out_is_a_plain_file_or_folder(tmp_path, staging):
    path = tarred(tmp_path / "a.tar", {"ex01_sums.py": SUMS, "x/y.py": ""}, mode="w")
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("set/uid.py")
        info.mode = 0o6777
        archive.addfile(info)
    old = os.umask(0o077)
    try:
        with submissions.laid_out(submissions.Submission("s", path), NAMES, staging) as found:
            modes = {
                str(each.relative_to(found.folder)): each.lstat().st_mode
                for each in found.folder.rglob("*")
            }
            assert stat.S_IMODE(found.folder.stat().st_mode) == 0o755
    finally:
        os.umask(old)
    assert {stat.S_IMODE(mode) for mode in modes.values()} == {0o644, 0o755}
    assert all(stat.S_ISREG(mode) or stat.S_ISDIR(mode) for mode in modes.values())
    assert stat.S_IMODE(modes["set/uid.py"]) == 0o644


def test_a_file_with_a_name_of_its_own_is_pointed_out(tmp_path, staging):
    folder = graded_course.fill(tmp_path / "a", {"ex01_sums (1).py": SUMS, "ex02_shifts.py": ""})
    _, refused = laid_out(folder, staging)
    assert refused == {"ex01_sums": "ex01_sums.py is not there, though 'ex01_sums (1).py' is"}


def test_exercises_in_several_folders_are_not_guessed_at(tmp_path, staging):
    folder = graded_course.fill(
        tmp_path / "a", {"week1/ex01_sums.py": SUMS, "week2/ex02_shifts.py": ""}
    )
    assert refusal(folder, staging).endswith("exercises lie in several folders: week1, week2")


def test_a_folder_that_holds_just_an_archive_is_unpacked(tmp_path, staging):
    (tmp_path / "alice").mkdir()
    zipped(tmp_path / "alice" / "upload.zip", HERE)
    assert students(tmp_path / "alice") == [("upload", "upload.zip")]
    (tmp_path / "class").mkdir()
    (tmp_path / "alice").rename(tmp_path / "class" / "alice")
    assert students(tmp_path / "class") == [("alice", "alice")]
    files, refused = laid_out(tmp_path / "class" / "alice", staging)
    assert set(files) == set(HERE) and not refused


LEADING_OUT = ["../evil.py", "a/../../evil.py", "/tmp/evil.py", "..\\evil.py", "C:\\evil.py", "C:x"]


@pytest.mark.parametrize("name", LEADING_OUT)
@pytest.mark.parametrize("make", [zipped, tarred])
def test_names_that_lead_out_are_refused(tmp_path, staging, make, name):
    path = make(tmp_path / "archive.zip", {**HERE, name: "x"})
    assert "leads out of it" in refusal(path, staging)
    assert not list(Path("/tmp").glob("evil.py"))


def test_links_and_devices_in_a_tar_are_named_and_not_made(tmp_path, staging):
    secret = graded_course.fill(tmp_path, {"secret.py": "secret"}) / "secret.py"
    kinds = {
        tarfile.SYMTYPE: "a symbolic link",
        tarfile.LNKTYPE: "a link",
        tarfile.FIFOTYPE: "a named pipe",
        tarfile.CHRTYPE: "a device",
        tarfile.BLKTYPE: "a device",
        tarfile.DIRTYPE: "a folder",
    }
    for number, (kind, words) in enumerate(kinds.items()):
        files = {"ex02_shifts.py": "fine"}
        path = tarred(tmp_path / f"{number}.tar", files)
        with tarfile.open(path, "a") as archive:
            for name in ("ex01_sums.py", "helper"):
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, str(secret)
                archive.addfile(info)
            # A link to a folder, and then a file in it, writes outside where links are made.
            archive.addfile(info.replace(name="out", linkname=str(tmp_path)))
        found, refused = laid_out(path, staging)
        assert found == files
        assert refused == {"ex01_sums": f"ex01_sums.py is {words}"}


def test_a_file_below_a_link_lies_in_a_folder_of_its_own(tmp_path, staging):
    path = tarred(tmp_path / "a.tar", {"ex01_sums.py": SUMS})
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("out")
        info.type, info.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(info)
        info = tarfile.TarInfo("out/planted.py")
        archive.addfile(info)
    found, _ = laid_out(path, staging)
    assert "out/planted.py" in found
    assert not (tmp_path / "planted.py").exists()


def test_a_symbolic_link_in_a_zip_is_named(tmp_path, staging):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("ex01_sums.py")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr("ex02_shifts.py", "")
    _, refused = laid_out(path, staging)
    assert refused == {"ex01_sums": "ex01_sums.py is a symbolic link"}


def test_a_submission_that_is_a_link_is_refused(tmp_path, staging):
    graded_course.fill(tmp_path / "elsewhere", HERE)
    zipped(tmp_path / "elsewhere.zip", HERE)
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "mallory").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "class" / "oscar.zip").symlink_to(tmp_path / "elsewhere.zip")
    for each in submissions.find([tmp_path / "class"], NAMES):
        assert refusal(each.path, staging).endswith("it is a symbolic link")


def test_links_and_pipes_in_a_folder_are_named_and_not_followed(tmp_path, staging):
    folder = graded_course.fill(tmp_path / "a", {"sub/fine.py": "x"})
    graded_course.fill(tmp_path, {"secret/ex02_shifts.py": "secret"})
    (folder / "ex01_sums.py").symlink_to(tmp_path / "secret" / "ex02_shifts.py")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "round").symlink_to(folder)
    os.mkfifo(folder / "ex02_shifts.py")
    found, refused = laid_out(folder, staging)
    assert found == {"sub/fine.py": "x"}
    assert refused == {
        "ex01_sums": "ex01_sums.py is a symbolic link",
        "ex02_shifts": "ex02_shifts.py is a named pipe",
    }


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path, staging):
    folder = graded_course.fill(tmp_path / "a", {**HERE, "closed/x.py": ""})
    (folder / "ex01_sums.py").chmod(0)
    (folder / "closed").chmod(0)
    found, refused = laid_out(folder, staging)
    assert list(found) == ["ex02_shifts.py"]
    assert refused == {"ex01_sums": "ex01_sums.py is not to be read (Permission denied)"}


@pytest.mark.parametrize("make", [zipped, tarred, graded_course.fill])
def test_too_long_an_answer_is_refused_and_nothing_else(tmp_path, staging, make):
    files = {"ex01_sums.py": b"#" * ((1 << 20) + 1), "ex02_shifts.py": b"fine"}
    found, refused = laid_out(make(tmp_path / "a", files), staging)
    assert found == {"ex02_shifts.py": "fine"}
    assert refused == {"ex01_sums": "ex01_sums.py is more than 1,048,576 bytes long"}


@pytest.mark.parametrize("make", [zipped, tarred, graded_course.fill])
def test_too_many_files_or_bytes_are_refused(tmp_path, staging, make):
    many = make(tmp_path / "many", {**HERE, **{f"f/{i}": b"" for i in range(2000)}})
    assert refusal(many, staging).endswith("it holds more than 2,000 files")
    large = make(tmp_path / "large", {**HERE, **{f"{i}.bin": bytes(5 << 20) for i in range(5)}})
    assert refusal(large, staging).endswith(
        "it holds more than 20 MB" if make is not tarred else "the archive is larger than 25 MB"
    )


def bomb(ending):
    """A small archive whose data.bin has 300 MB of zeros."""
    size = 300 << 20
    pieces = (bytes(1 << 20) for _ in range(size >> 20))
    if ending == ".zip":
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("ex01_sums.py", SUMS)
            with archive.open("data.bin", "w") as file:
                file.writelines(pieces)
        return target.getvalue()
    info = tarfile.TarInfo("data.bin")
    info.size = size
    machine = {
        ".tar.gz": lambda: zlib.compressobj(1, wbits=31),
        ".tar.xz": lambda: lzma.LZMACompressor(preset=0),
        ".tar.bz2": lambda: bz2.BZ2Compressor(1),
    }[ending]()
    parts = [machine.compress(info.tobuf()), *map(machine.compress, pieces), machine.flush()]
    return b"".join(parts)


@pytest.mark.parametrize("ending", [".zip", ".tar.gz", ".tar.xz", ".tar.bz2"])
def test_bombs_are_refused_before_they_fill_disk_or_memory(tmp_path, staging, ending):
    path = tmp_path / f"bomb{ending}"
    path.write_bytes(bomb(ending))
    assert path.stat().st_size < 2 << 20
    tracemalloc.start()
    try:
        assert refusal(path, staging).endswith("it holds more than 20 MB")
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_a_bomb_in_place_of_an_answer_costs_that_answer(tmp_path, staging):
    path = zipped(tmp_path / "a.zip", {"ex01_sums.py": bytes(50 << 20), "ex02_shifts.py": "fine"})
    found, refused = laid_out(path, staging)
    assert found == {"ex02_shifts.py": "fine"}
    assert refused == {"ex01_sums": "ex01_sums.py is more than 1,048,576 bytes long"}


def test_a_bomb_among_left_out_files_is_refused_too(tmp_path, staging):
    data = gzip.compress(tarred(tmp_path / "x", {".git/x": bytes(210 << 20)}).read_bytes(), 1)
    (tmp_path / "a.tar.gz").write_bytes(data)
    assert refusal(tmp_path / "a.tar.gz", staging).endswith("it unpacks to more than 200 MB")


def test_a_zip_whose_files_overlap_is_counted_as_it_unpacks(tmp_path, staging):
    """One compressed megabyte, listed forty times."""
    path = zipped(tmp_path / "a.zip", {"0.bin": bytes(1 << 20)})
    data = path.read_bytes()
    start = data.index(b"PK\1\2")
    entry, end = data[start : data.index(b"PK\5\6")], data[data.index(b"PK\5\6") :]
    end = end[:8] + struct.pack("<HHI", 40, 40, 40 * len(entry)) + end[16:]
    path.write_bytes(data[:start] + 40 * entry + end)
    assert refusal(path, staging).endswith("it holds more than 20 MB")


def test_a_zip_that_lists_millions_is_refused_unread(tmp_path, staging):
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(path, HERE).read_bytes() + b"PK\1\2" * 30_000)
    assert refusal(path, staging).endswith("it lists more than 20,000 files")


def test_an_archive_of_absurd_size_is_refused_unread(tmp_path, staging):
    path = tmp_path / "a.zip"
    with open(path, "wb") as file:
        file.write(b"PK")
        file.truncate(1 << 40)
    began = time.monotonic()
    assert refusal(path, staging).endswith("the archive is larger than 25 MB")
    assert time.monotonic() - began < 5


def changed(data, old, new, count=-1):
    assert old in data
    return data.replace(old, new, count)


def test_headers_that_lie_are_refused(tmp_path, staging):
    path = zipped(tmp_path / "a.zip", HERE)
    good = path.read_bytes()
    crc = struct.pack("<I", zlib.crc32(SUMS.encode()))
    lies = {
        "another name": changed(good, b"ex01_sums.py", b"ex01_xxxx.py", 1),
        "another checksum": changed(good, crc, b"\0\0\0\0"),
        "cut short": good[:-30],
        "cut in half": good[: len(good) // 2],
        "garbage": b"PK" + bytes(range(256)) * 40,
        "empty": b"",
        "a text": b"hello, world\n" * 100,
    }
    for label, data in lies.items():
        path.write_bytes(data)
        assert "it is damaged, or no archive" in refusal(path, staging), label


def test_an_encrypted_zip_is_refused_as_such(tmp_path, staging):
    path = zipped(tmp_path / "a.zip", {"ex01_sums.py": SUMS})
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    assert refusal(path, staging).endswith("it is encrypted")


def test_a_null_in_a_name_is_refused(tmp_path, staging):
    path = zipped(tmp_path / "a.zip", {"ex01_sums.pyXtxt": SUMS})
    path.write_bytes(changed(path.read_bytes(), b"ex01_sums.pyXtxt", b"ex01_sums.py\0txt"))
    assert "null character" in refusal(path, staging)


def test_names_too_long_and_nests_too_deep_are_refused(tmp_path, staging):
    for name in ("x" * 300, "/".join("abc" * 20), "/".join(["y" * 100] * 12)):
        for make in (zipped, tarred):
            reason = refusal(make(tmp_path / "a", {**HERE, name: ""}), staging)
            assert "too long, or folders that are nested too deep" in reason


def test_a_name_that_is_a_file_and_a_folder_is_refused(tmp_path, staging):
    for files in ({"a": "x", "a/b": "y"}, {"a/b": "x", "a": "y"}):
        path = tarred(tmp_path / "a.tar", {**HERE, **files})
        assert "is a file and a folder" in refusal(path, staging)


def test_of_two_files_of_one_name_the_later_counts(tmp_path, staging):
    path = tarred(tmp_path / "a.tar", {"ex01_sums.py": "a longer first one", "b": ""})
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("./ex01_sums.py")
        info.size = 6
        archive.addfile(info, io.BytesIO(b"second"))
    found, _ = laid_out(path, staging)
    assert found["ex01_sums.py"] == "second"


def test_tar_headers_that_fill_the_memory_are_refused(tmp_path, staging):
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
        info = tarfile.TarInfo("h")
        info.type, info.size = kind, 100 << 20
        (tmp_path / "a.tar").write_bytes(info.tobuf() + bytes(1 << 20))
        assert "a header of 104,857,600 bytes" in refusal(tmp_path / "a.tar", staging)
    info = tarfile.TarInfo("h")
    info.type = tarfile.GNUTYPE_SPARSE
    (tmp_path / "a.tar").write_bytes(info.tobuf() + bytes(1 << 20))
    assert "a sparse file" in refusal(tmp_path / "a.tar", staging)
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "x"}
    tarred(tmp_path / "a.tar", {"ex01_sums.py": b"9999999\n" * 64}, pax_headers=pax)
    assert "a sparse file" in refusal(tmp_path / "a.tar", staging)


def test_an_xz_that_wants_gigabytes_to_unpack_is_refused(tmp_path, staging):
    plain = tarred(tmp_path / "x", HERE).read_bytes()
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 26, "mode": lzma.MODE_FAST, "depth": 1}]
    data = lzma.compress(plain, filters=filters)
    (tmp_path / "a.tar.xz").write_bytes(data)
    assert laid_out(tmp_path / "a.tar.xz", staging)[1] == {}
    # The size of the dictionary is a byte of the block header: 28 is 64 MB, 40 is 4 GB.
    at = data.index(b"\x21\x01\x1c") + 2
    header = bytearray(data[12 : 12 + (data[12] + 1) * 4])
    header[at - 12] = 40
    header[-4:] = struct.pack("<I", zlib.crc32(bytes(header[:-4])))
    (tmp_path / "a.tar.xz").write_bytes(data[:12] + bytes(header) + data[12 + len(header) :])
    assert "emory usage limit" in refusal(tmp_path / "a.tar.xz", staging)


def test_an_archive_that_takes_too_long_is_refused(tmp_path, staging, monkeypatch):
    monkeypatch.setattr(unpacking, "MAX_SECONDS", -1)
    for make in (zipped, tarred):
        reason = refusal(make(tmp_path / "a", HERE), staging)
        assert reason.endswith("seconds to unpack")


def test_a_full_disk_is_no_students_fault(tmp_path, staging, monkeypatch):
    path = zipped(tmp_path / "a.zip", HERE)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(submissions._Stage, "_fill", full)
    with pytest.raises(OSError, match="No space left"):
        laid_out(path, staging)
    assert not list(staging.iterdir())


def test_nothing_remains_even_where_rights_were_taken_away(tmp_path, staging):
    path = graded_course.fill(tmp_path / "a", {**HERE, "x/y/z.py": ""})
    with submissions.laid_out(submissions.Submission("s", path), NAMES, staging) as found:
        (found.folder / "x" / "y").chmod(0)
        (found.folder / "x").chmod(0)
        found.folder.chmod(0)
    assert not list(staging.iterdir())
