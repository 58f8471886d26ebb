"""The house rules that a linter does not know: sizes and names."""

import ast
from collections import defaultdict
from pathlib import Path

import xero_pipeline

PACKAGE = Path(xero_pipeline.__file__).parent
MODULES = sorted(file for file in PACKAGE.rglob("*.py") if "versions" not in file.parts)


def test_no_module_is_longer_than_400_lines() -> None:
    lengths = {str(file.relative_to(PACKAGE)): len(file.read_text().splitlines()) for file in MODULES}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}


def test_no_public_class_name_stands_twice() -> None:
    places = defaultdict(list)
    for file in MODULES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(file.relative_to(PACKAGE)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_every_module_says_what_it_is_for() -> None:
    silent = [str(file.relative_to(PACKAGE)) for file in MODULES if not ast.get_docstring(ast.parse(file.read_text()))]
    assert silent == []
