"""A migrated database to begin with, and the page in its plainest form."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xero_pipeline.clock import SystemClock
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.admin.deployed import Page, deployed


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database at the newest schema, to be copied."""
    file = tmp_path_factory.mktemp("migrated") / "xero.db"
    warehouse = Warehouse.open(f"sqlite:///{file}", [b"\0" * 32], SystemClock())
    warehouse.migrate()
    warehouse.close()
    return file


@pytest.fixture
def page(tmp_path: Path, migrated: Path) -> Iterator[Page]:
    """The page of a real app on loopback, open, nothing connected, a stand-in for Dagster."""
    with deployed(tmp_path, template=migrated) as served:
        yield served
