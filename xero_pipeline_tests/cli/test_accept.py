"""`accept`: a person accepts a difference; the check and the alert close, and open again for another amount."""

from __future__ import annotations

import copy
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.automation.failure_alert import FailureMonitor
from xero_pipeline.dagster_home import open_instance
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import load_settings
from xero_pipeline_tests.cli.conftest import one_line
from xero_pipeline_tests.cli.test_commands import LATEST, Deployed, deployment_in
from xero_pipeline_tests.plain_xero import report_route
from xero_pipeline_tests.test_samples import load_sample

ME = pwd.getpwuid(os.getuid()).pw_name
CHECK = dg.AssetCheckKey(dg.AssetKey("financial_weekly"), "adds_up_in_xero")


@pytest.fixture
def connected(tmp_path: Path) -> Iterator[Deployed]:
    with deployment_in(tmp_path) as deployed:
        assert deployed.run("migrate").exit_code == 0
        assert deployed.run("connect").exit_code == 0
        yield deployed


def state_net_profit(deployed: Deployed, amount: str) -> None:
    """Let Xero state that net profit. Its lines add up to 68822.30."""
    report = copy.deepcopy(load_sample("profit_and_loss_au"))
    report["Reports"][0]["Rows"][-1]["Rows"][0]["Cells"][1]["Value"] = amount
    deployed.xero.routes["ProfitAndLoss"] = report_route(report)


def tick(deployed: Deployed) -> list[str]:
    """Do what a tick of `run_failure_alert` does, and return the open alerts about partial weeks."""
    with Deployment(load_settings(**deployed.environment)) as opened, open_instance(opened.settings) as instance:
        FailureMonitor(instance, opened, open_alerter(opened)).evaluate()
        return [alert.text for alert in open_alerter(opened).log.list_open("partial")]


def read_check(deployed: Deployed) -> tuple[bool, str]:
    """Whether the check's last evaluation passed, and what it says."""
    with open_instance(load_settings(**deployed.environment)) as instance:
        record = instance.get_latest_asset_check_evaluation_record(CHECK)
        assert record is not None
        assert record.event is not None
        evaluation = record.event.dagster_event.asset_check_evaluation_data
        return evaluation.passed, evaluation.description or ""


def find_partial_row(deployed: Deployed) -> str:
    return str(deployed.rows("SELECT max(id) FROM xero_sync_logs WHERE status = 'partial'")[0][0])


def test_an_accepted_difference_is_told_again_only_with_another_amount(connected: Deployed) -> None:
    tick(connected)
    state_net_profit(connected, "68822.35")
    assert connected.run(*LATEST).exit_code == 0
    [told] = tick(connected)
    log_id = find_partial_row(connected)
    assert f"`xero-pipeline accept {log_id}`" in told
    assert not read_check(connected)[0]
    figures = connected.rows("SELECT * FROM financial_weekly")

    result = connected.run("accept", log_id, "--note", "Xero rounds the tax")
    assert result.exit_code == 0, result.output
    accepted = f"accepted by {ME} (Xero rounds the tax)"
    assert result.stdout == f"Demo, profit_and_loss, week ending 2026-11-21: 1 difference {accepted}\n"
    with Deployment(load_settings(**connected.environment)) as opened:
        assert open_alerter(opened).log.list_open("partial") == []
    passed, description = read_check(connected)
    assert passed
    assert (
        f"Net Profit: Xero states 68822.35, its parts add up to 68822.30, a difference of 0.05. It was {accepted}."
        in (description)
    )
    assert accepted in " ".join(connected.run("logs").stdout.replace("│", " ").split())
    assert connected.rows("SELECT * FROM financial_weekly") == figures
    assert connected.rows(f"SELECT status FROM xero_sync_logs WHERE id = {log_id}") == [("partial",)]

    # The same difference again.
    assert connected.run(*LATEST).exit_code == 0
    assert tick(connected) == []
    assert read_check(connected)[0]

    # Another amount.
    state_net_profit(connected, "68822.36")
    assert connected.run(*LATEST).exit_code == 0
    assert len(tick(connected)) == 1
    assert not read_check(connected)[0]


def test_the_sensor_closes_the_check_of_what_was_accepted_elsewhere(connected: Deployed) -> None:
    tick(connected)
    state_net_profit(connected, "68822.35")
    connected.run(*LATEST)
    assert len(tick(connected)) == 1
    with Deployment(load_settings(**connected.environment)) as opened:
        opened.warehouse.log.accept(int(find_partial_row(connected)), who="admin page")
    assert not read_check(connected)[0]
    assert tick(connected) == []
    assert read_check(connected)[0]


def test_what_cannot_be_accepted_is_one_line(connected: Deployed) -> None:
    assert connected.run(*LATEST).exit_code == 0
    assert "Row 1 of the sync log is success, not partial." in one_line(connected.run("accept", "1"))
    assert "The sync log has no row 99. `xero-pipeline logs` lists" in one_line(connected.run("accept", "99"))
    assert connected.run("accept", "none").exit_code == 2
