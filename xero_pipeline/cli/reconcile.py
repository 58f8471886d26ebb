"""`reconcile`: hold the tables against Xero's own totals, read again what differs, and print the result."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import cast

import click

from xero_pipeline.assets.progress import NoProgress
from xero_pipeline.assets.run_organisations import choose_organisations, list_left_out_organisations
from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.automation.reconciliation import ASSET_OF_TYPE, notify_reconciliation
from xero_pipeline.cli.materialize import materialize_weeks
from xero_pipeline.cli.options import DATE, format_count, print_json, print_line, print_table
from xero_pipeline.errors import PipelineError
from xero_pipeline.reconciliation.blocks import list_blocks
from xero_pipeline.reconciliation.episode import reconcile_organisation
from xero_pipeline.reconciliation.readings import ReadingPlan, ReadingResult
from xero_pipeline.resources import Deployment, open_deployment
from xero_pipeline.settings import Basis, load_settings
from xero_pipeline.warehouse.figures.stale_weeks import read_landing_times
from xero_pipeline.warehouse.logs.reconciliations import Reconciliation
from xero_pipeline.warehouse.logs.sync_log import LANDED, SyncType
from xero_pipeline.weeks import Week
from xero_pipeline.xero.client import OrganisationClient


class ReconciliationFailed(PipelineError):
    """A block still differs from Xero's totals, or an organisation could not be compared."""

    code = "reconciliation_failed"


@click.command()
@click.option("--from", "first", type=DATE, help="The first week, by its Saturday (default: the first stored week).")
@click.option("--to", "last", type=DATE, help="The last week, by its Saturday (default: the last stored week).")
@click.option(
    "--organisation", "organisations", multiple=True, metavar="ID", help="Only this one (tenant id); can be repeated."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def reconcile(first: date | None, last: date | None, organisations: tuple[str, ...], as_json: bool) -> None:
    """Compare the tables with Xero's own totals, and read the weeks that differ again.

    Xero is asked for the totals of up to 52 weeks at once. Where they differ from the sum of the stored weeks, the
    weeks that differ are found and synced again. Exit status 0 if everything is equal in the end, otherwise 1.
    """
    settings = load_settings()
    with open_deployment(settings, on_wait=_show_wait) as opened:
        start = None if first is None else Week(first)
        end = None if last is None else Week(last)
        if start and end and start > end:
            raise click.UsageError("--from is after --to.")
        rows: list[Reconciliation] = []
        problems: list[str] = []
        names = opened.warehouse.tokens.list_names()
        clients = choose_organisations(opened.xero, organisations)
        for left_out in list_left_out_organisations(opened.xero, organisations):
            name = names.get(left_out.tenant_id, left_out.name)
            problems.append(f"{name} has to be connected again, so it was left out.")
        for client in clients:
            name = names.get(client.tenant_id, client.name)
            try:
                of_client = _reconcile_organisation(opened, client, start, end)
            except PipelineError as error:
                problems.append(f"{name}: {error}")
                continue
            if not of_client:
                problems.append(f"{name} has no stored week in this range.")
            rows += of_client
        alerter = open_alerter(opened)
        for row in rows:
            notify_reconciliation(alerter, names.get(row.tenant_id, row.tenant_id), row)
    different = [row for row in rows if not row.is_proven]
    if different:
        what = "1 block still differs" if len(different) == 1 else f"{len(different)} blocks still differ"
        problems.append(f"{what} from Xero's totals.")
    _print_rows(rows, names, problems, as_json=as_json)
    if problems:
        raise ReconciliationFailed(" ".join(problems), advice="`xero-pipeline logs` shows what was read again.")


def _reconcile_organisation(
    opened: Deployment, client: OrganisationClient, first: Week | None, last: Week | None
) -> list[Reconciliation]:
    engine = opened.warehouse.engine
    weeks = [
        week
        for week in read_landing_times(engine, client.tenant_id)
        if (first is None or week >= first) and (last is None or week <= last)
    ]

    def read_again(plans: Sequence[ReadingPlan]) -> ReadingResult:
        result = ReadingResult()
        for plan in plans:
            weeks = list(plan.weeks)
            what = str(plan.weeks.last) if len(weeks) == 1 else f"{plan.weeks}"
            print_line(f"reading {what} of {client.name} again: {', '.join(plan.assets)}", err=True)
            run = materialize_weeks(opened, weeks, [client.tenant_id], progress=NoProgress(), assets=plan.assets)
            result.run_id = run.run_id
            for entry in opened.warehouse.log.list_for_run(run.run_id):
                reading = (cast(Week, entry.week), ASSET_OF_TYPE[SyncType(entry.sync_type)])
                result.calls[reading] = result.calls.get(reading, 0) + entry.api_calls
                if entry.status in LANDED:
                    result.landed.add(reading)
        return result

    return reconcile_organisation(
        client,
        engine,
        list_blocks(weeks),
        cash_basis=opened.settings.basis is Basis.CASH,
        read_again=read_again,
        now=opened.clock.now(),
    )


def _show_wait(seconds: float, reason: str) -> None:
    if seconds >= 1:
        click.echo(f"waiting {seconds:.0f} s, since {reason}", err=True)


def _print_rows(
    rows: Sequence[Reconciliation], names: dict[str, str], problems: Sequence[str], *, as_json: bool
) -> None:
    calls = sum(row.api_calls for row in rows)
    if as_json:
        print_json(
            {
                "equal": not problems,
                "apiCalls": calls,
                "problems": list(problems),
                "reconciliations": [
                    row.as_dict() | {"tenantName": names.get(row.tenant_id, row.tenant_id)} for row in rows
                ],
            }
        )
        return
    figures = ("Xero states", "Tables hold", "Difference", "Weeks read again", "Calls")
    titles = ("Organisation", "Weeks ending", "What", *figures, "Status")
    print_table(titles, [_build_row(row, names) for row in rows], figures=figures)
    for row in rows:
        for figure in row.difference.get("figures", []) if not row.is_proven else []:
            # A figure may differ over a part of the block only.
            weeks = f"{figure['first_week']} to {figure['last_week']}" if "first_week" in figure else row.weeks
            print_line(
                f"{row.kind.replace('_', ' ')} {weeks}: {figure['account_name']}, "
                f"{figure['figure'].replace('_', ' ')}: Xero states {figure['stated']}, the tables hold "
                f"{figure['held']}"
            )
    click.echo(f"{format_count(len(rows), 'comparison')}, {format_count(calls, 'call')} to Xero")


def _build_row(row: Reconciliation, names: dict[str, str]) -> tuple[str, ...]:
    return (
        names.get(row.tenant_id, row.tenant_id),
        str(row.weeks),
        _describe_kind(row),
        *(_format_figure(row.difference.get(name)) for name in ("stated", "held", "difference")),
        str(row.weeks_read_again),
        str(row.api_calls),
        row.status.value,
    )


def _describe_kind(row: Reconciliation) -> str:
    return {"profit_and_loss": "net profit", "bank_summary": "closing cash", "documents": "documents"}[row.kind.value]


def _format_figure(text: str | None) -> str:
    if text is None:
        return "–"
    whole, _, cents = text.partition(".")
    return f"{int(whole):,}" + (f".{cents}" if cents else "") if whole not in ("-0",) else text
