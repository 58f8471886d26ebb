"""A migrated warehouse on each of the two databases, with the test's clock."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.migrated import make_tables
from xero_pipeline_tests.warehouse.figures.figures_given import KEY


@pytest.fixture
def warehouse(database_url: str, clock: FakeClock) -> Iterator[Warehouse]:
    warehouse = Warehouse.open(database_url, [KEY], clock)
    make_tables(warehouse.engine)
    yield warehouse
    warehouse.close()
