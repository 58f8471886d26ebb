"""The warehouse as a whole: a week and its row of the sync log land together, and no secret is stored in plain text."""

from __future__ import annotations

from pathlib import Path

import pytest

from xero_pipeline.rate_limits import CallLimits, CallPermit
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.warehouse.figures.figures_given import (
    KEY,
    NOW,
    WEEK,
    cell,
    land_revenue,
    opened,
    revenue,
    tokens,
)


def test_landing_a_week_finishes_its_log_row_and_records_when_the_organisation_was_synced(
    warehouse: Warehouse, clock: FakeClock
) -> None:
    warehouse.tokens.save_consent(tokens(), opened("org-1"), now=NOW)
    clock.advance(hours=1)
    land_revenue(warehouse, revenue(cell("residential", "north", "5.00")), status="partial")
    entry = warehouse.log.get_last("org-1", "invoices", WEEK)
    assert entry is not None
    assert (entry.status, entry.record_count, entry.api_calls, entry.completed_at) == (
        "partial",
        1,
        2,
        clock.now(),
    )
    assert warehouse.tokens.get_organisation("org-1").last_sync_at == clock.now()


def test_figures_whose_log_row_cannot_be_finished_do_not_land(warehouse: Warehouse) -> None:
    land_revenue(warehouse, revenue(cell("residential", "north", "5.00")))
    with pytest.raises(LookupError):
        warehouse.land(
            revenue(),
            tenant_id="org-1",
            week=WEEK,
            currency="AUD",
            data_source="xero_mock",
            run_id=None,
            log_id=999,
            status="success",
            api_calls=0,
        )
    assert len(warehouse.read_week_figures("org-1", WEEK).revenue) == 1
    assert warehouse.list_restatements() == []


def test_the_call_budget_counts_in_this_database(warehouse: Warehouse, clock: FakeClock) -> None:
    budget = warehouse.make_call_budget(CallLimits())
    assert isinstance(budget.acquire("org-1", clock.now()), CallPermit)
    assert warehouse.make_call_budget(CallLimits()).read_usage("org-1", clock.now()).today == 1


def test_the_file_contains_no_token_and_no_key_in_plain_text(sqlite_warehouse: Warehouse, tmp_path: Path) -> None:
    secret = tokens("a-long-secret-that-is-easily-found")
    grant = sqlite_warehouse.tokens.save_consent(secret, opened("org-1"), now=NOW)[0].grant_id
    sqlite_warehouse.tokens.save_refreshed(grant, secret)
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert b"connection-org-1" in written
    for hidden in (b"easily-found", KEY, KEY.hex().encode()):
        assert hidden not in written
