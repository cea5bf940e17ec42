"""The layers of the library: who may import whom, and what `import minigrad` may bring in."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ROOT / "minigrad"
SLOW_TO_IMPORT = ["numba", "cupy", "matplotlib", "tqdm", "torch", "IPython", "kernels"]


def layers():
    """{module: height}, the lowest 0, as the contract in pyproject.toml has them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (contract,) = [contract for contract in contracts if contract["type"] == "layers"]
    lines = [line.replace("(", "").replace(")", "").split(" | ") for line in contract["layers"]]
    return {name: height for height, names in enumerate(reversed(lines)) for name in names}


def python_files(name):
    path = LIBRARY / name
    return sorted(path.rglob("*.py")) if path.is_dir() else [*LIBRARY.glob(f"{name}.py")]


def uses_of_the_whole_package(path):
    """(line, attribute) of every `mg.attribute`, and (line, None) of every `import minigrad`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import) and "minigrad" in [alias.name for alias in node.names]:
            yield node.lineno, None
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in ("mg", "minigrad"):
            yield node.lineno, node.attr


def test_layers_import_only_from_below_and_kernels_nothing_of_the_library():
    code = "import importlinter.cli as linter, sys; sys.exit(linter.lint_imports(no_cache=True))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert found.returncode == 0, found.stdout + found.stderr
    assert "2 kept, 0 broken" in found.stdout, found.stdout


@pytest.mark.parametrize("name", layers())
def test_the_public_face_is_no_way_round_the_layers(name):
    """`import minigrad as mg` hides from the linter what is reached as `mg.something`."""
    height = layers()
    for path in python_files(name):
        for line, attribute in uses_of_the_whole_package(path):
            where = f"{path.relative_to(ROOT)}:{line}"
            assert height[name] >= height["nn"], f"{where} imports minigrad as a whole"
            assert height.get(attribute, 0) <= height[name], f"{where} uses mg.{attribute}"


def test_import_minigrad_leaves_slow_modules_alone():
    code = f"import sys, minigrad; print([m for m in {SLOW_TO_IMPORT} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert found.stdout.strip() == "[]", found.stdout + found.stderr
