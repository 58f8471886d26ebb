"""Fixtures: a mock with one organisation, and a client that is signed in to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from xero_pipeline.mock_xero import MockLimits, MockXero
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.mock_xero.client import Client

# Limits so high that tests about other things never reach them.
UNLIMITED = MockLimits(per_minute=100_000, per_day=100_000, app_per_minute=100_000)


@pytest.fixture
def mock(tmp_path: Path, clock: FakeClock) -> MockXero:
    return MockXero(tmp_path / "mock-xero.db", clock, limits=UNLIMITED)


@pytest.fixture
def client(mock: MockXero) -> Iterator[Client]:
    client = Client(mock).sign_in()
    yield client
    client.session.close()
