"""The page of faults names tests that exist, and every fault."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reference" / "faults.md").read_text(encoding="utf-8")
ROWS = {int(row[1]): row[2] for row in re.finditer(r"^\| (\d+) \|(.*)\|$", PAGE, re.MULTILINE)}


@cache
def _functions(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def test_no_fault_is_missing():
    assert list(ROWS) == list(range(1, 56))


@pytest.mark.parametrize("number", ROWS)
def test_the_named_tests_exist(number):
    shown = ROWS[number].rsplit("|", 1)[1]
    named = re.findall(r"`(tests/[^:`]+)::(\w+)`", shown)
    assert named or shown.strip() == "not tested"
    for path, name in named:
        assert (ROOT / path).is_file(), path
        assert name in _functions(ROOT / path), (path, name)
    assert all(name.startswith("test_") for _, name in named)
