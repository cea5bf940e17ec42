"""What was measured of the kernels on a GPU, as kernels/RESULTS.md has it."""

from pathlib import Path

#: beside the package, in a checkout and where it is installed
RESULTS = Path(__file__).resolve().parents[2] / "kernels" / "RESULTS.md"


def measured(section, path=RESULTS):
    """The rows of a section of a file of results, each {column: text}; the header row is the keys.

    Arguments: section: its title, such as "matmul fp32"; path: of the file.
    Raises KeyError for a section that is not there, FileNotFoundError without the file.
    """
    lines = [line for line in _section(section, path).splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(head, row)) for row in rows]


def origin(section, path=RESULTS):
    """When, on what GPU and with what a section was measured, in one line: its second paragraph.
    Raises as ``measured`` does."""
    return " ".join(_section(section, path).split("\n\n")[1].split())


def _section(section, path):
    text = Path(path).read_text(encoding="utf-8")
    _, found, rest = text.partition(f"\n## {section}\n")
    if not found:
        known = [line[3:] for line in text.splitlines() if line.startswith("## ")]
        raise KeyError(f"no section {section!r} in {Path(path).name}; it has {', '.join(known)}")
    return rest.partition("\n## ")[0].strip()
