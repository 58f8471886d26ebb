"""Fixtures: a migrated database to copy, and the served page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xero_pipeline.clock import SystemClock
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.admin.deployed import Page, serve_page


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database at the newest schema, for tests to copy."""
    file = tmp_path_factory.mktemp("migrated") / "xero.db"
    warehouse = Warehouse.open(f"sqlite:///{file}", [b"\0" * 32], SystemClock())
    warehouse.migrate()
    warehouse.close()
    return file


@pytest.fixture
def page(tmp_path: Path, migrated: Path) -> Iterator[Page]:
    """The page on loopback without a sign-in: nothing is connected, and Dagster is a fake."""
    with serve_page(tmp_path, template=migrated) as served:
        yield served
