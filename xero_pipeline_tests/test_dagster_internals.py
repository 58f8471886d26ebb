"""The one module for Dagster's private names: each still exists, and no other module imports one."""

import ast
import importlib
from pathlib import Path

import pytest

import xero_pipeline
from xero_pipeline_tests.private_imports import is_private, private_imports

PACKAGE = Path(xero_pipeline.__file__).parent
INTERNALS = PACKAGE / "dagster_internals.py"
TESTS = Path(__file__).parent
TEST_INTERNALS = TESTS / "dagster_internals.py"


@pytest.mark.parametrize(("module", "name"), sorted({*private_imports(INTERNALS), *private_imports(TEST_INTERNALS)}))
def test_dagster_still_has_each_private_name_where_we_import_it(module: str, name: str) -> None:
    moved = f"Dagster has moved {module}.{name}: find its new place, or a public way, and change dagster_internals.py."
    try:
        assert hasattr(importlib.import_module(module), name), moved
    except ModuleNotFoundError:
        pytest.fail(moved)


def test_no_other_module_imports_a_private_name_of_dagster() -> None:
    found = {
        str(file.relative_to(PACKAGE.parent)): imports
        for root in (PACKAGE, TESTS)
        for file in root.rglob("*.py")
        if file not in (INTERNALS, TEST_INTERNALS) and (imports := private_imports(file))
    }
    assert found == {}


def test_each_private_name_has_its_reason_above_it() -> None:
    lines = [line.strip() for line in INTERNALS.read_text().splitlines()]
    reasons = [number for number, line in enumerate(lines) if line.startswith("# ")]
    for node in ast.walk(ast.parse(INTERNALS.read_text())):
        if isinstance(node, ast.ImportFrom) and is_private(node.module or ""):
            above = node.lineno - 2
            while lines[above].startswith("from "):
                above -= 1
            assert above in reasons, f"line {node.lineno} of dagster_internals.py has no comment that says why"
