"""A check that only a hand in a table can break is told, once, and told again when it holds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.automation.failure_alert import FailureMonitor
from xero_pipeline_tests.automation.scene import Inbox
from xero_pipeline_tests.deployment import Running, failing_checks, running


@pytest.fixture
def deployed(tmp_path: Path, inbox: Inbox) -> Iterator[Running]:
    with running(tmp_path, ALERT_URLS=inbox.address, PIPELINE_START_DATE="2026-11-08") as deployed:
        look(deployed)
        assert deployed.sync(deployed.latest.previous, deployed.latest, checks=True).success
        yield deployed


def look(deployed: Running) -> None:
    """One tick of the sensor that always runs."""
    alerter = open_alerter(deployed.deployment)
    FailureMonitor(deployed.instance, deployed.deployment, alerter).look()
    alerter.flush()


def write_into(deployed: Running, statement: str) -> None:
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
        ("UPDATE revenue_weekly SET credited = '1.00' WHERE week_ending = :week", "revenue_weekly", "net_is_invoiced"),
    ],
)
def test_somebody_who_wrote_into_a_table_is_told_of_once_and_when_it_holds_again(
    deployed: Running, inbox: Inbox, statement: str, table: str, check: str
) -> None:
    look(deployed)
    assert inbox.taken() == []
    write_into(deployed, statement)
    for _ in range(2):
        assert deployed.sync(checks=True).success
        look(deployed)
        deployed.clock.advance(hours=1)
    [message] = inbox.taken()
    assert (message.title, message.tone) == (f"{table} no longer holds what landed", "failure")
    assert f"The check {check}" in message.body
    assert deployed.sync(deployed.latest.previous, deployed.latest, checks=True).success
    look(deployed)
    [message] = inbox.taken()
    assert (message.title, message.tone) == (f"Recovered: {table} no longer holds what landed", "success")
    # What breaks anew is news.
    write_into(deployed, statement)
    assert deployed.sync(checks=True).success
    look(deployed)
    assert [again.tone for again in inbox.taken()] == ["failure"]


def test_checks_that_the_sensors_put_right_or_that_only_warn_are_nobodys_alarm(deployed: Running, inbox: Inbox) -> None:
    write_into(deployed, "DELETE FROM cash_position_weekly WHERE week_ending = :week")
    write_into(deployed, "UPDATE xero_sync_logs SET status = 'failed' WHERE week_ending = :week")
    assert "cash_position_weekly.no_gaps" in failing_checks(deployed.sync(checks=True))
    look(deployed)
    assert inbox.taken() == []
