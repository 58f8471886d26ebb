"""A check that only fails when somebody writes into a table is reported once, and again when it passes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.automation.failure_alert import FailureMonitor
from xero_pipeline_tests.automation.scene import Inbox
from xero_pipeline_tests.deployment import RunningDeployment, describe_failing_checks, run_deployment


@pytest.fixture
def deployed(tmp_path: Path, inbox: Inbox) -> Iterator[RunningDeployment]:
    with run_deployment(tmp_path, ALERT_URLS=inbox.address, PIPELINE_START_DATE="2026-11-08") as deployed:
        evaluate(deployed)
        assert deployed.sync(deployed.latest.previous, deployed.latest, checks=True).success
        yield deployed


def evaluate(deployed: RunningDeployment) -> None:
    """Do what a tick of `run_failure_alert` does."""
    alerter = open_alerter(deployed.deployment)
    FailureMonitor(deployed.instance, deployed.deployment, alerter).evaluate()
    alerter.flush()


def write_into(deployed: RunningDeployment, statement: str) -> None:
    with deployed.warehouse.engine.begin() as connection:
        connection.execute(text(statement), {"week": str(deployed.latest.previous)})


@pytest.mark.parametrize(
    ("statement", "table", "check"),
    [
        (
            "UPDATE financial_weekly_lines SET amount = '1.00' WHERE week_ending = :week",
            "financial_weekly",
            "lines_add_up",
        ),
        (
            "UPDATE financial_weekly SET net_profit = '1.00' WHERE week_ending = :week",
            "financial_weekly",
            "gross_and_net",
        ),
        (
            "UPDATE revenue_weekly SET net_revenue = '1.00' WHERE week_ending = :week",
            "revenue_weekly",
            "net_is_invoiced",
        ),
    ],
)
def test_a_write_into_a_table_is_reported_once_and_so_is_its_repair(
    deployed: RunningDeployment, inbox: Inbox, statement: str, table: str, check: str
) -> None:
    evaluate(deployed)
    assert inbox.take_messages() == []
    write_into(deployed, statement)
    for _ in range(2):
        assert deployed.sync(checks=True).success
        evaluate(deployed)
        deployed.clock.advance(hours=1)
    [message] = inbox.take_messages()
    assert (message.title, message.kind) == (f"{table} no longer holds what landed", "failure")
    assert f"The check {check}" in message.body
    assert deployed.sync(deployed.latest.previous, deployed.latest, checks=True).success
    evaluate(deployed)
    [message] = inbox.take_messages()
    assert (message.title, message.kind) == (f"Recovered: {table} no longer holds what landed", "success")
    # A new failure is reported again.
    write_into(deployed, statement)
    assert deployed.sync(checks=True).success
    evaluate(deployed)
    assert [message.kind for message in inbox.take_messages()] == ["failure"]


def test_failures_that_the_sensors_repair_are_not_reported(deployed: RunningDeployment, inbox: Inbox) -> None:
    write_into(deployed, "DELETE FROM cash_position_weekly WHERE week_ending = :week")
    write_into(deployed, "UPDATE xero_sync_logs SET status = 'failed' WHERE week_ending = :week")
    assert "cash_position_weekly.no_gaps" in describe_failing_checks(deployed.sync(checks=True))
    evaluate(deployed)
    assert inbox.take_messages() == []
