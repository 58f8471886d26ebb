"""`make dev` restarted while a backfill that somebody started in Dagster's UI is half done."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from xero_pipeline_tests.admin.real_dagster import free_port
from xero_pipeline_tests.dev import LATEST, XERO_PIPELINE, Deployed, process, running_dev

WEEKS = 6
ASSETS = ("financial_weekly", "revenue_weekly", "cash_position_weekly")
BACKFILL = """
mutation($p: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $p) { __typename }
}
"""


def test_a_backfill_goes_on_by_itself_and_nothing_is_lost_or_there_twice(tmp_path: Path) -> None:
    port = free_port()
    xero = f"http://127.0.0.1:{port}"
    deployed = Deployed(
        tmp_path,
        XERO_MOCK_MODE="false",
        XERO_GRANT="client_credentials",
        XERO_CLIENT_ID="an-app",
        XERO_CLIENT_SECRET="the-secret-of-an-app",
        XERO_API_URL=xero,
        XERO_IDENTITY_URL=xero,
        XERO_LOGIN_URL=xero,
        PIPELINE_START_DATE=LATEST.shift(1 - WEEKS).start.isoformat(),
        MISSING_WEEKS_SECONDS="5",
    )
    server = [*XERO_PIPELINE, "mock-xero", "--port", str(port), "--state", str(tmp_path / "xero-state.db")]
    with process(server, deployed, tmp_path / "xero.log", lambda: _answers(f"{xero}/mock/organisations")):
        deployed.run("migrate")
        deployed.run("connect")
        # The run has to last until it is cut off in its middle.
        httpx.post(f"{xero}/mock/faults", json={"kind": "delay", "seconds": 1, "times": None, "path": "Reports"})
        with running_dev(deployed):
            start_backfill(deployed)
            # What fills gaps by itself must see that somebody has these weeks in hand, before and after.
            httpx.post(f"{deployed.admin}/api/v1/xero/scheduler/start").raise_for_status()
            wait(lambda: len(landed(deployed)) >= 3, "three weeks have landed")
        assert len(landed(deployed)) < 3 * WEEKS
        assert deployed.rows("SELECT count(*) FROM xero_sync_logs WHERE status = 'running'") == [(0,)]
        httpx.delete(f"{xero}/mock/faults")
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
    answer = httpx.post(f"{deployed.dagster}/graphql", json={"query": BACKFILL, "variables": {"p": asked}}).json()
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


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
