"""The examples in docstrings are run."""

import doctest
import importlib
import re
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def modules_with_examples():
    for path in sorted((ROOT / "minigrad").rglob("*.py")):
        if re.search(r"^\s*>>> ", path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__")


@pytest.mark.parametrize("name", list(modules_with_examples()))
def test_examples_give_what_they_show(name):
    module = importlib.import_module(name)
    names = {**vars(module), "np": np, "mg": mg}
    failed, tried = doctest.testmod(module, globs=names, optionflags=OPTIONS)
    assert tried > 0
    assert failed == 0
