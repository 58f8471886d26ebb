"""`sync`: materialise weeks, or months, in this process through Dagster, and print their figures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import click
import dagster as dg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from xero_pipeline.access import find_cli_actor
from xero_pipeline.assets.run_organisations import choose_organisations, list_left_out_organisations
from xero_pipeline.audit import AuditTrail
from xero_pipeline.automation.failure_text import list_pipeline_errors
from xero_pipeline.automation.jobs import ASSETS, MONTHLY_ASSETS
from xero_pipeline.cli.materialize import materialize_weeks
from xero_pipeline.cli.options import DATE, describe_lost_connection, format_count, print_json, print_line, print_table
from xero_pipeline.dagster_internals import StepFailureData
from xero_pipeline.errors import PipelineError
from xero_pipeline.periods import Month, Period
from xero_pipeline.resources import Deployment, open_deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.access.audit_log import AuditAction, AuditOutcome
from xero_pipeline.warehouse.figures.queries import read_comparison
from xero_pipeline.warehouse.logs.sync_log import LogEntry
from xero_pipeline.weeks import MAX_WEEKS, Week
from xero_pipeline.xero.client import OrganisationClient

COLUMNS = {
    "total_trading_income": "Income",
    "cost_of_sales": "Cost of sales",
    "gross_profit": "Gross profit",
    "net_profit": "Net profit",
    "net_revenue": "Net revenue",
    "closing_cash": "Closing cash",
}


_REASONS_SHOWN = 5


class SyncFailed(PipelineError):
    code = "sync_failed"


class ProgressDisplay:
    """A progress bar: weeks done, calls made, and the time left at the limit of calls a minute."""

    def __init__(self, console: Console, calls_per_minute: int) -> None:
        self._calls_per_minute = calls_per_minute
        self._deployment: Deployment | None = None
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: Any = None
        self._done = 0
        self._total = 0

    def follow(self, opened: Deployment, periods: Sequence[Period]) -> None:
        self._deployment = opened
        self._total = len(periods) * len(_list_assets(periods))
        self._task = self._bar.add_task("syncing", total=self._total, note="")

    def __enter__(self) -> ProgressDisplay:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, sync_type: str, weeks: int) -> None:
        # The tables are read side by side, so the bar is about all of them.
        del sync_type, weeks

    def finish_week(self, sync_type: str, week: Period, *, landed: bool) -> None:
        del sync_type, week, landed
        self._done += 1
        self._bar.update(self._task, completed=self._done, note=self._format_note())

    def show_wait(self, seconds: float, reason: str) -> None:
        if seconds >= 1:
            notice = f"waiting {seconds:.0f} s, since {reason}"
            self._bar.update(self._task, note=f"{self._format_note()}, {notice}")
            if self._bar.disable:
                click.echo(notice, err=True)

    def _format_note(self) -> str:
        calls = self._deployment.session.attempts if self._deployment else 0
        if not self._done or not calls:
            return f"{calls} calls"
        left = calls / self._done * (self._total - self._done) / self._calls_per_minute * 60
        return f"{calls} calls, about {left:.0f} s left at the limit"


@click.command()
@click.option("--week-ending", type=DATE, help="One week, by its Saturday (YYYY-MM-DD).")
@click.option("--weeks", type=click.IntRange(1, MAX_WEEKS), help="This many of the latest weeks, as far as they exist.")
@click.option("--from", "first", type=DATE, help="The first week of a range, by its Saturday.")
@click.option("--to", "last", type=DATE, help="The last week of a range, by its Saturday.")
@click.option("--month-ending", type=DATE, help="One calendar month, by its last day (YYYY-MM-DD).")
@click.option("--months", type=click.IntRange(1, MAX_WEEKS), help="This many of the latest months instead of weeks.")
@click.option(
    "--organisation", "organisations", multiple=True, metavar="ID", help="Only this one (tenant id); can be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sync(
    week_ending: date | None,
    weeks: int | None,
    first: date | None,
    last: date | None,
    month_ending: date | None,
    months: int | None,
    organisations: tuple[str, ...],
    as_json: bool,
) -> None:
    """Fetch weeks from Xero, write them, and show each week's figures (default: the latest week).

    With --months or --month-ending it fetches calendar months instead. A sync of weeks reads no month.

    Runs, events and logs are in Dagster's UI afterwards.
    """
    ways = sum(option is not None for option in (week_ending, weeks, first or last, month_ending, months))
    if ways > 1 or (first is None) != (last is None):
        raise click.UsageError(
            "Give --week-ending, or --weeks, or --from together with --to, or --month-ending, or --months."
        )
    settings = load_settings()
    console = Console(stderr=True)
    display = ProgressDisplay(console, settings.calls_per_minute)
    with open_deployment(settings, on_wait=display.show_wait) as opened:
        chosen: Sequence[Period]
        if month_ending is None and months is None:
            chosen = _choose_weeks(opened, week_ending, weeks, first, last)
        else:
            chosen = _choose_months(opened, month_ending, months)
        clients = choose_organisations(opened.xero, organisations)
        for client in list_left_out_organisations(opened.xero, organisations):
            print_line(f"left out: {describe_lost_connection(client.organisation)}", err=True)
        display.follow(opened, chosen)
        trail = AuditTrail(opened.warehouse)
        with display, trail.recording(find_cli_actor(), AuditAction.SYNC, _describe_weeks(chosen)) as recorded:
            result = materialize_weeks(opened, chosen, organisations, progress=display)
            recorded.subject += f", run {result.run_id}"
            entries = opened.warehouse.log.list_for_run(result.run_id)
            failed = [entry for entry in entries if entry.status == "failed"]
            if failed or not result.success:
                recorded.outcome = AuditOutcome.FAILED.value
        _print_result(opened, chosen, clients, entries, run_id=result.run_id, as_json=as_json)
    if failed or not result.success:
        description = _describe_failed_weeks(failed, clients) if failed else _describe_failed_run(result)
        raise SyncFailed(description, advice=f"Run {result.run_id} in Dagster's UI shows more.")


def _list_assets(periods: Sequence[Period]) -> Sequence[str]:
    return MONTHLY_ASSETS if isinstance(periods[0], Month) else ASSETS


def _describe_weeks(weeks: Sequence[Period]) -> str:
    first, last = weeks[0], weeks[-1]
    return f"{first.NOUN} ending {first}" if first == last else f"{first.NOUN}s ending {first} to {last}"


def _choose_weeks(
    opened: Deployment, week_ending: date | None, weeks: int | None, first: date | None, last: date | None
) -> list[Week]:
    calendar, now = opened.settings.calendar, opened.clock.now()
    if week_ending is not None:
        return [calendar.require_week(week_ending, now)]
    if first is not None and last is not None:
        start, end = calendar.require_week(first, now), calendar.require_week(last, now)
        if start > end:
            raise click.UsageError("--from is after --to.")
        return list(calendar.iterate_weeks(start, end))
    return calendar.list_latest_weeks(weeks or 1, now)


def _choose_months(opened: Deployment, month_ending: date | None, months: int | None) -> list[Month]:
    calendar, now = opened.settings.calendar, opened.clock.now()
    if month_ending is not None:
        return [calendar.require_month(month_ending, now)]
    return calendar.list_months(now)[-(months or 1) :]


def _print_result(
    opened: Deployment,
    weeks: Sequence[Period],
    organisations: Sequence[OrganisationClient],
    entries: Sequence[LogEntry],
    *,
    run_id: str,
    as_json: bool,
) -> None:
    rows = []
    for organisation in organisations:
        figures = read_comparison(opened.warehouse.engine, organisation.tenant_id, weeks[0], weeks[-1])
        for week in weeks:
            week_entries = [e for e in entries if e.tenant_id == organisation.tenant_id and e.week == week]
            amounts = {name: figures.get(week, {}).get(name) for name in COLUMNS}
            rows.append((organisation, week, _combine_status(week_entries, len(_list_assets(weeks))), amounts))
    noun = weeks[0].NOUN
    if as_json:
        print_json(
            {
                "runId": run_id,
                f"{noun}s": [
                    {
                        f"{noun}Ending": str(week),
                        "tenantId": o.tenant_id,
                        "tenantName": o.organisation.tenant_name,
                        "status": status,
                    }
                    | {
                        _to_camel_case(name): None if amount is None else str(amount)
                        for name, amount in amounts.items()
                    }
                    for o, week, status, amounts in rows
                ],
                "logs": [entry.as_dict() for entry in entries],
            }
        )
        return
    _print_table(rows, sum(entry.api_calls for entry in entries))


def _print_table(rows: Sequence[tuple[OrganisationClient, Period, str, dict[str, Decimal | None]]], calls: int) -> None:
    figures = list(COLUMNS.values())
    cells = [
        (
            str(week),
            organisation.name,
            *("–" if amount is None else f"{amount:,.2f}" for amount in amounts.values()),
            status,
        )
        for organisation, week, status, amounts in rows
    ]
    noun = rows[0][1].NOUN
    print_table([f"{noun.title()} ending", "Organisation", *figures, "Status"], cells, figures=figures)
    weeks = len({week for _, week, *_ in rows})
    organisations = len({organisation.tenant_id for organisation, *_ in rows})
    owners = f" of {organisations} organisations" if organisations > 1 else ""
    click.echo(f"{format_count(weeks, noun)}{owners}, {format_count(calls, 'call')} to Xero")


def _combine_status(entries: Sequence[LogEntry], expected: int) -> str:
    statuses = {entry.status for entry in entries}
    if "failed" in statuses or len(entries) < expected:
        return "failed"
    return "partial" if "partial" in statuses else "success"


def _describe_failed_run(result: dg.ExecuteInProcessResult) -> str:
    """Say why the run failed although no week did, as when the database cannot be written."""
    reasons = dict.fromkeys(filter(None, (_read_reason(event) for event in result.all_events)))
    shown = " / ".join(list(reasons)[:_REASONS_SHOWN])
    return f"The sync failed: {shown}" if shown else "The sync failed outside of any week."


def _read_reason(event: dg.DagsterEvent) -> str | None:
    """The text of an error of ours that failed a step. Any other error's text may hold a secret or a figure."""
    data = event.event_specific_data
    if not isinstance(data, StepFailureData):
        return None
    if data.user_failure_data is not None and data.user_failure_data.description:
        return data.user_failure_data.description
    error, ours, class_name = data.error, list_pipeline_errors(), ""
    while error is not None and error.cls_name not in ours:
        class_name, error = error.cls_name or class_name, error.cause or error.context
    if error is None:
        return f"{class_name} in the step {event.step_key}." if class_name else None
    return " ".join(error.message.partition(": ")[2].split())


def _describe_failed_weeks(failed: Sequence[LogEntry], organisations: Sequence[OrganisationClient]) -> str:
    names = {organisation.tenant_id: organisation.name for organisation in organisations}
    error_logs = [entry.error_log or {} for entry in failed]
    reasons = sorted({f"{log.get('message', '')} {log.get('advice', '')}".strip() for log in error_logs})
    more = (
        f" … and {format_count(len(reasons) - _REASONS_SHOWN, 'other cause')}" if len(reasons) > _REASONS_SHOWN else ""
    )
    weeks = sorted({str(entry.week) for entry in failed})
    span = weeks[0] if len(weeks) == 1 else f"{weeks[0]} to {weeks[-1]}"
    who = ", ".join(sorted({names.get(entry.tenant_id, entry.tenant_id) for entry in failed}))
    shown = " / ".join(reasons[:_REASONS_SHOWN])
    return f"{format_count(len(failed), 'sync')} failed ({who}, {span}): {shown}{more}"


def _to_camel_case(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)
