"""What was measured of the kernels on a GPU, as kernels/RESULTS.md has it."""

from pathlib import Path

#: beside the package, in a checkout and where it is installed
RESULTS = Path(__file__).resolve().parents[2] / "kernels" / "RESULTS.md"


def measured(section, path=RESULTS):
    """The rows of a section of a file of results, each {column: text}; the header row is the keys.

    Arguments: section: its title, such as "matmul fp32"; path: of the file.
    Raises KeyError for a section that is not there, FileNotFoundError without the file.
    """
    text = Path(path).read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n## {section}\n")
    if not found:
        known = [line[3:] for line in text.splitlines() if line.startswith("## ")]
        raise KeyError(f"no section {section!r} in {Path(path).name}; it has {', '.join(known)}")
    lines = [line for line in rest.partition("\n## ")[0].splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(head, row)) for row in rows]


def origin(path=RESULTS):
    """Where and with what the results were made: the first paragraph of the file, one line."""
    text = Path(path).read_text(encoding="utf-8")
    return " ".join(text.split("\n\n")[1].split())
