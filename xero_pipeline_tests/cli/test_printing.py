"""What is printed is what was stored: no name is read as markup, and no letter of it commands the terminal."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from typing import Any

import pytest
from rich.console import Console

from xero_pipeline.cli.options import print_table
from xero_pipeline.cli.sync import ProgressDisplay
from xero_pipeline.clock import SystemClock
from xero_pipeline.grants import Connection
from xero_pipeline.warehouse.figures.restatements import Restatement, insert_restatements
from xero_pipeline.weeks import Week
from xero_pipeline_tests.admin.deployed import make_tokens
from xero_pipeline_tests.cli.conftest import OLD, Folder

NAME = "Acme [/old] [bold]Pty [link=x] :cat:"


def test_a_name_with_brackets_is_shown_as_it_is(folder: Folder) -> None:
    with folder.warehouse(OLD) as opened:
        now = SystemClock().now()
        opened.tokens.save_consent(make_tokens(SystemClock(), "mark"), [Connection("c-1", "t-1", NAME)], now=now)
    shown = folder.run("status")
    assert (shown.exit_code, NAME in shown.stdout) == (0, True), shown.output


def test_what_xero_said_and_an_accounts_name_are_shown_as_they_are(folder: Folder) -> None:
    now = SystemClock().now()
    week = Week.containing(now.date()).previous
    with folder.warehouse(OLD) as opened:
        log_id = opened.log.start(tenant_id="[/t]", sync_type="invoices", week=week, run_id=None)
        opened.log.fail(log_id, api_calls=1, error_log={"message": "[/no] such [red]report"})
        with opened.engine.begin() as connection:
            insert_restatements(connection, [restated(week, now)])
    shown = folder.run("logs")
    assert (shown.exit_code, "[/no] such [red]report" in shown.stdout) == (0, True), shown.output
    shown = folder.run("restatements")
    assert (shown.exit_code, "[/sales] [bold]here" in shown.stdout) == (0, True), shown.output


def test_logs_and_restatements_say_whose_by_name_and_when_in_the_pipelines_zone(folder: Folder) -> None:
    when = datetime(2026, 11, 23, 19, 0, tzinfo=UTC)
    week = Week(date(2026, 11, 14))
    two = [Connection("c-1", "t-1", "Acme"), Connection("c-2", "t-2", "Twin"), Connection("c-3", "t-3", "Twin")]
    with folder.warehouse(OLD) as opened:
        opened.tokens.save_consent(make_tokens(SystemClock(), "mark"), two, now=when)
        for tenant in ("t-1", "t-2", "gone"):
            opened.log.start(tenant_id=tenant, sync_type="invoices", week=week, run_id=None)
        with opened.engine.begin() as connection:
            insert_restatements(connection, [restated(week, when)])
    shown = folder.run("logs").stdout
    assert "Started (Australia/Sydney)" in shown
    assert all(name in shown for name in ("Acme", "Twin (t-2)", "gone"))
    shown = folder.run("restatements").stdout
    assert "When (Australia/Sydney)" in shown
    assert "2026-11-24 06:00:00" in shown
    assert "Acme" in shown
    # The sync of that morning, which was still the day before by UTC.
    assert "Acme" in folder.run("restatements", "--since", "2026-11-24").stdout
    assert folder.run("restatements", "--since", "2026-11-25").stdout == "nothing was restated\n"


def restated(week: Week, now: Any) -> Restatement:
    return Restatement(
        tenant_id="t-1",
        week=week,
        table_name="financial_weekly_lines",
        row_key="a-1",
        row_name="[/sales] [bold]here",
        column_name="amount",
        old_value="1.00",
        new_value=None,
        restated_at=now,
        dagster_run_id=None,
    )


def test_what_would_command_the_terminal_is_not_sent_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["Organisation"], [["Ac\x1b[31mme\x07\nPty"]])
    assert "Ac [31mme  Pty" in capsys.readouterr().out


class _Deployment:
    class session:
        attempts = 3


@pytest.mark.parametrize("terminal", [True, False])
def test_a_wait_says_what_it_is_for(capsys: pytest.CaptureFixture[str], terminal: bool) -> None:
    drawn = io.StringIO()
    display = ProgressDisplay(Console(file=drawn, force_terminal=terminal, width=200), 55)
    display.follow(_Deployment(), [Week(date(2026, 11, 21))])  # type: ignore[arg-type]
    with display:
        display.begin("[/profit]_and_loss", 1)
        display.show_wait(2.0, "an attempt failed: [/it] answered 503")
        display.show_wait(0.2, "too short to be told")
    said = drawn.getvalue() if terminal else capsys.readouterr().err
    assert "waiting 2 s, since an attempt failed: [/it] answered 503" in said
    assert "limit" not in said.replace("at the limit", "")
    assert "too short" not in said
