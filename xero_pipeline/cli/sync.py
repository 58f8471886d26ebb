"""`sync`: weeks materialised in this process, through Dagster, and shown."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import uuid4

import click
import dagster as dg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from xero_pipeline.assets.week_sync import choose_organisations
from xero_pipeline.automation.dead_runs import end_dead_runs
from xero_pipeline.automation.jobs import ASSETS, range_tags, sync_config
from xero_pipeline.cli.options import DAY, counted, print_json, print_table
from xero_pipeline.dagster_home import open_instance
from xero_pipeline.definitions import build_defs
from xero_pipeline.errors import PipelineError
from xero_pipeline.resources import Deployment, open_deployment
from xero_pipeline.run_liveness import hold_run_lock, worker_tag
from xero_pipeline.settings import load_settings
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
    """A bar on the terminal: weeks done of how many, calls spent, time left at the limit."""

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

    def follow(self, opened: Deployment, weeks: int) -> None:
        self._deployment = opened
        self._total = weeks * len(ASSETS)
        self._task = self._bar.add_task("syncing", total=self._total, note="")

    def __enter__(self) -> ProgressDisplay:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def begin(self, sync_type: str, weeks: int) -> None:
        del weeks
        self._bar.update(self._task, description=sync_type.replace("_", " "))

    def week_done(self, sync_type: str, week: Week, *, landed: bool) -> None:
        del sync_type, week, landed
        self._done += 1
        self._bar.update(self._task, completed=self._done, note=self._note())

    def waiting(self, seconds: float, reason: str) -> None:
        if seconds >= 1:
            said = f"waiting {seconds:.0f} s, since {reason}"
            self._bar.update(self._task, note=f"{self._note()}, {said}")
            if self._bar.disable:
                click.echo(said, err=True)

    def _note(self) -> str:
        calls = self._deployment.session.attempts if self._deployment else 0
        if not self._done or not calls:
            return f"{calls} calls"
        left = calls / self._done * (self._total - self._done) / self._calls_per_minute * 60
        return f"{calls} calls, about {left:.0f} s left at the limit"


@click.command()
@click.option("--week-ending", type=DAY, help="One week, by its Saturday (YYYY-MM-DD).")
@click.option("--weeks", type=click.IntRange(1, MAX_WEEKS), help="The latest so many weeks, as far as there are.")
@click.option("--from", "first", type=DAY, help="The first week of a range, by its Saturday.")
@click.option("--to", "last", type=DAY, help="The last week of a range, by its Saturday.")
@click.option(
    "--organisation", "organisations", multiple=True, metavar="ID", help="Only this one (tenant id); repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sync(
    week_ending: date | None,
    weeks: int | None,
    first: date | None,
    last: date | None,
    organisations: tuple[str, ...],
    as_json: bool,
) -> None:
    """Fetch weeks from Xero, write them, and show each week's figures (default: the latest week).

    Runs, events and logs are in Dagster's UI afterwards.
    """
    if sum(given is not None for given in (week_ending, weeks, first or last)) > 1 or (first is None) != (last is None):
        raise click.UsageError("Give --week-ending, or --weeks, or --from together with --to.")
    settings = load_settings()
    console = Console(stderr=True)
    watch = ProgressDisplay(console, settings.calls_per_minute)
    with open_deployment(settings, on_wait=watch.waiting) as opened:
        chosen = _choose_weeks(opened, week_ending, weeks, first, last)
        wanted = choose_organisations(opened.xero, organisations)
        watch.follow(opened, len(chosen))
        with watch:
            result = _materialize(opened, chosen, organisations, watch)
        entries = opened.warehouse.log.of_run(result.run_id)
        _show(opened, chosen, wanted, entries, run_id=result.run_id, as_json=as_json)
    failed = [entry for entry in entries if entry.status == "failed"]
    if failed or not result.success:
        raise SyncFailed(_summary_of_failure(failed, wanted), advice=f"Run {result.run_id} in Dagster's UI says more.")


def _choose_weeks(
    opened: Deployment, week_ending: date | None, weeks: int | None, first: date | None, last: date | None
) -> list[Week]:
    calendar, now = opened.settings.calendar, opened.clock.now()
    if week_ending is not None:
        return [calendar.require_week(week_ending, now)]
    if first is not None and last is not None:
        start, end = calendar.require_week(first, now), calendar.require_week(last, now)
        if start > end:
            raise click.UsageError("--from lies after --to.")
        return list(calendar.iterate_weeks(start, end))
    return calendar.list_latest_weeks(weeks or 1, now)


def _materialize(
    opened: Deployment, weeks: Sequence[Week], organisations: Sequence[str], watch: ProgressDisplay
) -> dg.ExecuteInProcessResult:
    definitions = build_defs(
        settings=opened.settings,
        resource_overrides={"xero": opened.xero, "warehouse": opened.warehouse, "progress": watch},
    )
    config = sync_config(organisations) | {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    logging.getLogger("dagster").setLevel(logging.CRITICAL)
    run_id = str(uuid4())
    with open_instance(opened.settings) as instance, hold_run_lock(opened.warehouse.locks, run_id):
        # Where no daemon runs, nobody else tells of a command that was killed.
        end_dead_runs(instance, opened, opened.clock.now())
        return definitions.resolve_job_def("weekly_sync").execute_in_process(
            run_config=config,
            instance=instance,
            tags=range_tags(weeks[0], weeks[-1]) | worker_tag(),
            run_id=run_id,
            raise_on_error=False,
        )


def _show(
    opened: Deployment,
    weeks: Sequence[Week],
    organisations: Sequence[OrganisationClient],
    entries: Sequence[LogEntry],
    *,
    run_id: str,
    as_json: bool,
) -> None:
    rows = []
    for organisation in organisations:
        figures = {row.week: row for row in opened.warehouse.summary(organisation.tenant_id, weeks[0], weeks[-1])}
        for week in weeks:
            said = [e for e in entries if e.tenant_id == organisation.tenant_id and e.week == week]
            amounts = {name: getattr(figures.get(week), name, None) for name in COLUMNS}
            rows.append((organisation, week, _overall(said), amounts))
    if as_json:
        print_json(
            {
                "runId": run_id,
                "weeks": [
                    {"weekEnding": str(week), "tenantId": o.tenant_id, "tenantName": o.name, "status": status}
                    | {_camel(name): None if amount is None else str(amount) for name, amount in amounts.items()}
                    for o, week, status, amounts in rows
                ],
                "logs": [entry.as_dict() for entry in entries],
            }
        )
        return
    _print_table(rows, sum(entry.api_calls for entry in entries))


def _print_table(rows: Sequence[tuple[OrganisationClient, Week, str, dict[str, Decimal | None]]], calls: int) -> None:
    figures = list(COLUMNS.values())
    cells = [
        (str(week), organisation.name, *("–" if one is None else f"{one:,.2f}" for one in amounts.values()), status)
        for organisation, week, status, amounts in rows
    ]
    print_table(["Week ending", "Organisation", *figures, "Status"], cells, figures=figures)
    weeks, organisations = len({week for _, week, *_ in rows}), len({one.tenant_id for one, *_ in rows})
    of = f" of {organisations} organisations" if organisations > 1 else ""
    click.echo(f"{counted(weeks, 'week')}{of}, {counted(calls, 'call')} to Xero")


def _overall(entries: Sequence[LogEntry]) -> str:
    statuses = {entry.status for entry in entries}
    if "failed" in statuses or len(entries) < len(ASSETS):
        return "failed"
    return "partial" if "partial" in statuses else "success"


def _summary_of_failure(failed: Sequence[LogEntry], organisations: Sequence[OrganisationClient]) -> str:
    if not failed:
        return "The sync failed before any week was tried."
    names = {organisation.tenant_id: organisation.name for organisation in organisations}
    said = [entry.error_log or {} for entry in failed]
    reasons = sorted({f"{one.get('message', '')} {one.get('advice', '')}".strip() for one in said})
    more = f" … and {counted(len(reasons) - _REASONS_SHOWN, 'other cause')}" if len(reasons) > _REASONS_SHOWN else ""
    weeks = sorted({str(entry.week) for entry in failed})
    span = weeks[0] if len(weeks) == 1 else f"{weeks[0]} to {weeks[-1]}"
    who = ", ".join(sorted({names.get(entry.tenant_id, entry.tenant_id) for entry in failed}))
    shown = " / ".join(reasons[:_REASONS_SHOWN])
    return f"{counted(len(failed), 'sync')} failed ({who}, {span}): {shown}{more}"


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)
