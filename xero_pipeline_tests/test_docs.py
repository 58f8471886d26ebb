"""The documentation names only what exists. The README lists every command and every part of the package.

That `.env.example` lists every setting is tested in `test_settings.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from xero_pipeline.cli.main import cli

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "xero_pipeline"
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "deploy/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
FILE_ENDINGS = (".py", ".md", ".toml", ".yaml", ".lock", ".conf")
# Files that a running deployment writes, and folders that a build or an installation makes.
MADE_ELSEWHERE = ("data/", "dist/", ".venv/", ".bench/")

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_PATH = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./-]*")
# A name of the code: `SyncType`, `_OPEN`, `read_addresses`, `AlertAddress.post`.
_NAME = re.compile(r"(?=\w*[_A-Z])[A-Za-z_]\w*(?:\.\w+)?(?<!_)")
# `├── weeks.py money.py   what they are for`: how deep the line is, and the names before the first wide gap.
_TREE_LINE = re.compile(r"^(?P<depth>(?:[│ ] {3})*)(?:[├└]── )?(?P<names>\S+(?: \S+)*?)(?: {2,}|$)")


def is_repository_path(text: str) -> bool:
    """Whether a text in backticks is a path in this repository, and not an address, a route, a glob or plain code."""
    if not _PATH.fullmatch(text) or text.startswith(MADE_ELSEWHERE):
        return False
    return "/" in text or text.endswith(FILE_ENDINGS)


def is_there(path: str, document: Path) -> bool:
    """Whether a path exists, from the root, from the package, or from the document's own folder.

    A bare file name, such as `status.py`, may be that of any module.
    """
    if any((folder / path).exists() for folder in (ROOT, PACKAGE, document.parent)):
        return True
    return "/" not in path and any(PACKAGE.rglob(path))


def read_named_paths(document: Path) -> Iterator[str]:
    text = _FENCE.sub("", document.read_text())
    yield from filter(is_repository_path, _CODE.findall(text))
    yield from (link.partition("#")[0] for link in _LINK.findall(text) if "://" not in link and link[0] != "#")


def read_section(document: Path, title: str) -> str:
    _, _, section = document.read_text().partition(f"\n## {title}\n")
    assert section, f"{document.name} has no section {title}"
    return section.partition("\n## ")[0]


def read_tree() -> Iterator[Path]:
    """Every file and folder of the tree in the README, with its whole path."""
    block = read_section(ROOT / "README.md", "The tree").split("```")[1]
    folders: list[Path] = [ROOT]
    for line in block.strip().splitlines():
        match = _TREE_LINE.match(line)
        assert match, line
        depth = len(match["depth"]) // 4 + ("── " in line.removeprefix(match["depth"])[:4])
        del folders[depth + 1 :]
        for name in match["names"].split():
            yield folders[-1] / name
        if match["names"].endswith("/"):
            folders.append(folders[-1] / match["names"])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_every_path_that_the_documentation_names_exists(document: Path) -> None:
    missing = [path for path in read_named_paths(document) if not is_there(path, document)]
    assert missing == []


def test_the_paths_that_are_checked_are_paths() -> None:
    assert all(map(is_repository_path, ("xero_pipeline/cli/", "README.md", ".ci/run", "deploy/dagster.yaml")))
    others = ("data/xero.db", "/openapi.json", "GET /status", "migrations/*.py", "https://example.com/a.py", "status")
    assert not any(map(is_repository_path, others))
    assert "CONTRIBUTING.md" in read_named_paths(ROOT / "README.md")
    assert not is_there("xero_pipeline/gone.py", ROOT / "README.md")


def test_every_name_of_the_code_in_contributing_exists() -> None:
    folders = (PACKAGE, ROOT / "xero_pipeline_tests")
    files = [file for folder in folders for file in folder.rglob("*.py") if file != Path(__file__)]
    words = {word for file in files for word in re.findall(r"\w+", file.read_text())}
    document = ROOT / "CONTRIBUTING.md"
    named = {name for name in _CODE.findall(_FENCE.sub("", document.read_text())) if _NAME.fullmatch(name)}
    assert {name for name in named if not is_there(name, document) and not words.issuperset(name.split("."))} == set()


def test_the_tree_in_the_readme_is_the_tree_on_disk() -> None:
    listed = list(read_tree())
    assert [str(path.relative_to(ROOT)) for path in listed if not path.exists()] == []
    on_disk = {path for path in PACKAGE.iterdir() if not path.name.startswith("__") and path.name != "py.typed"}
    assert {path.name for path in on_disk - set(listed)} == set()


def test_the_readme_lists_every_command_and_no_other() -> None:
    section = read_section(ROOT / "README.md", "The command line")
    cells = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    listed = [command for cell in cells for command in _CODE.findall(cell)]
    assert sorted(listed) == sorted(cli.list_commands(click.Context(cli)))
