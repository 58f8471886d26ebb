"""`make dev` restarted while a backfill that somebody started in Dagster's UI is half done."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from xero_pipeline.connecting import Connector
from xero_pipeline.xero.mock import Fault, FaultKind
from xero_pipeline_tests.dev import LATEST, Deployed, running_dev

WEEKS = 6
ASSETS = ("financial_weekly", "revenue_weekly", "cash_position_weekly")
BACKFILL = """
mutation($p: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $p) { __typename }
}
"""


def test_a_backfill_goes_on_by_itself_and_nothing_is_lost_or_there_twice(tmp_path: Path) -> None:
    deployed = Deployed(
        tmp_path,
        XERO_MOCK_MODE="true",
        PIPELINE_START_DATE=LATEST.shift(1 - WEEKS).start.isoformat(),
        MISSING_WEEKS_SECONDS="5",
    )
    with deployed.opened() as opened:
        opened.warehouse.migrate()
        Connector(opened).connect_mock()
        mock = opened.chosen.mock
        assert mock is not None
    # The run has to last until it is cut off in its middle.
    mock.add_fault(Fault(FaultKind.DELAY, path="Reports", seconds=1, times=None))
    with running_dev(deployed):
        start_backfill(deployed)
        # What fills gaps by itself must see that somebody has these weeks in hand, before and after.
        httpx.post(f"{deployed.admin}/api/v1/xero/scheduler/start", timeout=60).raise_for_status()
        wait(lambda: len(landed(deployed)) >= 3, "three weeks have landed")
    assert len(landed(deployed)) < 3 * WEEKS
    assert deployed.rows("SELECT count(*) FROM xero_sync_logs WHERE status = 'running'") == [(0,)]
    mock.clear_faults()
    with running_dev(deployed):
        # The run that was cut off, and the one that Dagster makes of it; nobody else takes the weeks up.
        wait(lambda: sorted(run["status"] for run in runs(deployed)) == ["FAILURE", "SUCCESS"], "the run went on")
        assert {name for run in runs(deployed) for name in sources(run)} == set()
        stats = deployed.graphql("{ assetNodes { partitionStats { numMaterialized numFailed } } }")
    assert landed(deployed) == {
        (kind, str(LATEST.shift(-n))) for kind in ("profit_and_loss", "invoices", "bank_summary") for n in range(WEEKS)
    }
    assert [node["partitionStats"] for node in stats["assetNodes"]] == [
        {"numMaterialized": WEEKS, "numFailed": 0}
    ] * len(ASSETS)
    assert deployed.rows("SELECT count(*), count(DISTINCT week_ending) FROM financial_weekly") == [(WEEKS, WEEKS)]
    assert deployed.rows("SELECT count(*) FROM restatements") == [(0,)]
    # A restart is no news.
    assert deployed.rows("SELECT title FROM alerts") == []


def start_backfill(deployed: Deployed) -> None:
    """As Dagster's UI does."""
    asked = {
        "partitionNames": [LATEST.shift(-n).key for n in range(WEEKS)],
        "assetSelection": [{"path": [asset]} for asset in ASSETS],
    }
    question = {"query": BACKFILL, "variables": {"p": asked}}
    answer = httpx.post(f"{deployed.dagster}/graphql", json=question, timeout=60).json()
    assert answer["data"]["launchPartitionBackfill"]["__typename"] == "LaunchBackfillSuccess", answer


def runs(deployed: Deployed) -> list[dict[str, Any]]:
    found = deployed.graphql("{ runsOrError { ... on Runs { results { status tags { key value } } } } }")
    results: list[dict[str, Any]] = found["runsOrError"]["results"]
    return results


def landed(deployed: Deployed) -> set[tuple[str, str]]:
    return set(deployed.rows("SELECT sync_type, week_ending FROM xero_sync_logs WHERE status = 'success'"))


def sources(run: dict[str, Any]) -> list[str]:
    return [tag["value"] for tag in run["tags"] if tag["key"] == "source"]


def wait(until: Callable[[], bool], what: str) -> None:
    last = time.monotonic() + 180
    while not until():
        if time.monotonic() > last:
            pytest.fail(f"it did not come to pass that {what}")
        time.sleep(0.3)
