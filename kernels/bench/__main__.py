"""Every kernel against its peer on this GPU, checked before it is timed.

    python -m kernels.bench                     # the whole table, printed
    python -m kernels.bench --only flash rows   # these sections
    python -m kernels.bench --write             # and put into kernels/RESULTS.md

Each figure is the median of many runs between CUDA events; each ratio compares two figures of one
run. Inputs are random and fresh. A kernel whose answer is wrong against float64 is not timed.
PyTorch, where it is installed, is the peer of attention; cuBLAS, through CuPy, that of products; a
device copy that of what memory bounds.
"""

import argparse
import contextlib
import os
import platform
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import PackageNotFoundError, version

import cupy

from kernels import _cubins, _driver
from kernels.bench import attention, decode, measure, products, rows  # noqa: F401
from kernels.bench.measure import ROOT, SECTIONS


def main():
    parser = argparse.ArgumentParser(
        prog="python -m kernels.bench", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--only", nargs="+", choices=list(SECTIONS), metavar="SECTION", help=", ".join(SECTIONS)
    )
    parser.add_argument("--write", action="store_true", help="put them into kernels/RESULTS.md")
    parser.add_argument("--once", choices=["flash", "standard"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.once:
        return attention.once(options.once)
    names = options.only or list(SECTIONS)
    compile_together(names)
    found, failed = {}, []
    for name in names:
        found[name] = []
        start = time.perf_counter()
        try:
            for row in SECTIONS[name]():
                found[name].append(row)
                print(text(row), flush=True)
        except Exception as error:
            failed.append(f"{name}: {type(error).__name__}: {error}")
            print(failed[-1], flush=True)
        print(f"-- {name}: {time.perf_counter() - start:.0f} s", flush=True)
        cupy.get_default_memory_pool().free_all_blocks()
    if options.write:
        write(ROOT / "kernels" / "RESULTS.md", found, failed)
    return 1 if failed else 0


def compile_together(names):
    """Compile what the sections will launch, in as many processes as there are processors, by
    running them once without launching anything. The results are kept on disk."""
    start, children, seen = time.perf_counter(), set(), set()
    real = _driver.launch

    def compile_aside(launch, args):
        kinds = tuple(str(_cubins.kind(arg)) for arg in args)
        if (launch.kernel, kinds) in seen:
            return
        seen.add((launch.kernel, kinds))
        if len(children) >= (os.cpu_count() or 1):
            children.discard(os.wait()[0])
        child = os.fork()
        if child:
            children.add(child)
            return
        try:
            _cubins.compiled(launch.kernel, args, _driver.architecture(launch.kernel))
        finally:
            os._exit(0)

    _driver.launch, measure.dry = compile_aside, True
    try:
        for name in names:
            with contextlib.suppress(Exception):  # which the run in earnest will tell
                list(SECTIONS[name]())
    finally:
        _driver.launch, measure.dry = real, False
        for child in children:
            os.waitpid(child, 0)
    print(f"{len(seen)} kernels compiled in {time.perf_counter() - start:.0f} s", flush=True)


def text(row):
    """A row for the terminal."""
    ms = "" if row.ms is None else f"{row.ms:9.3f} ms"
    share = "" if row.share is None else f"{row.share:6.2f}"
    must = (
        ""
        if row.must is None
        else f"(must {row.must}{'' if row.share >= row.must else ', MISSED'})"
    )
    wrong = "" if row.error is None else f"error {row.error:.1e}"
    first = f"{row.kernel:34} {row.size:34} {ms:12} {row.rate:16} {row.peer:34}"
    return f"{first} {share} {must} {wrong} {row.note}"


REMARKS = "Remarks"
PACKAGES = ("numpy", "numba", "numba-cuda", "cupy-cuda12x", "cupy-cuda13x", "torch")
HEADER = """# Measured

Made by `python -m kernels.bench --write`; each section says when and where. The share is the peer's
time over the kernel's, or the kernel's bandwidth over a device copy's, both of the same run. The
error is that of the answer against float64, relative, in the Euclidean norm.
"""


def write(path, found, failed):
    """RESULTS.md: a section each, those measured now in place of their old ones; the remarks that
    a person has written under them are kept."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    _, *parts = text.split("\n## ")
    sections, where = dict(part.split("\n", 1) for part in parts), circumstances()
    for name, table in found.items():
        lines = ["", " ".join(SECTIONS[name].__doc__.split()), "", where, ""]
        lines += ["| Kernel | Size | ms | Rate | Peer | Share | Must | Error | |", "|---" * 9 + "|"]
        lines += ["| " + " | ".join(cells(row)) + " |" for row in table]
        lines += [f"\nFAILED: {each}" for each in failed if each.startswith(name + ":")]
        sections[name] = "\n".join(lines) + "\n"
    order = [name for name in (*SECTIONS, REMARKS) if name in sections]
    body = "\n".join(f"## {name}\n{sections[name].rstrip()}\n" for name in order)
    path.write_text(f"{HEADER}\n{body}", encoding="utf-8")


def circumstances():
    """What sections were measured on, in two lines."""
    git = ["git", "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, cwd=ROOT).stdout.strip()
    gpu = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    driver = f"driver for CUDA {cupy.cuda.runtime.driverGetVersion() / 1000:.1f}"
    packages = [f"{name} {found_version(name)}" for name in PACKAGES if found_version(name)]
    python = f"Python {platform.python_version()}, {', '.join(packages)}."
    return f"{gpu}, {driver}, {date.today()}, commit {commit or 'unknown'};\n{python}"


def cells(row):
    """A row for RESULTS.md."""

    def number(value, how):
        return "" if value is None else format(value, how)

    return (
        row.kernel, row.size, number(row.ms, ".3f"), row.rate, row.peer, number(row.share, ".2f"),
        number(row.must, "g"), number(row.error, ".1e"), row.note,
    )  # fmt: skip


def found_version(package):
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
