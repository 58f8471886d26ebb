"""`explain`: what a figure of a week is made of."""

from __future__ import annotations

from datetime import date

import click

from xero_pipeline.cli.options import DATE, format_local_time, print_json, print_line, print_table
from xero_pipeline.errors import PipelineError
from xero_pipeline.resources import open_deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.figures.document_queries import DocumentChange
from xero_pipeline.warehouse.figures.explanation import FigureExplainer
from xero_pipeline.warehouse.figures.explanation_json import explanation_to_dict
from xero_pipeline.warehouse.figures.explanation_types import Explanation
from xero_pipeline.warehouse.figures.overview import list_known_tenants, list_tenants_with_figures
from xero_pipeline.weeks import Calendar

# The printed table ends here; `--json` lists every document.
_MAX_DOCUMENTS = 100


class NothingToExplain(PipelineError):
    """The week has no such figure."""

    code = "nothing_to_explain"


@click.command()
@click.option("--week-ending", type=DATE, required=True, help="The week, by its Saturday (YYYY-MM-DD).")
@click.option("--organisation", metavar="ID", help="Only this one (tenant id).")
@click.option("--account", metavar="CODE", help="An account of the profit and loss, by its code, id or name.")
@click.option("--type", "revenue_type", metavar="TYPE", help="Revenue of this type, such as commercial.")
@click.option("--region", metavar="REGION", help="Revenue of this region, such as north.")
@click.option("--bank", metavar="NAME", help="A bank account, by its name or id.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every document.")
def explain(
    week_ending: date,
    organisation: str | None,
    account: str | None,
    revenue_type: str | None,
    region: str | None,
    bank: str | None,
    as_json: bool,
) -> None:
    """Show what a figure of a week is made of: an account, revenue, a bank account.

    Without any of these, show what the totals of the profit and loss and the whole revenue are made of.
    """
    if sum(option is not None for option in (account, revenue_type or region, bank)) > 1:
        raise click.UsageError("Give --account, or --type and --region, or --bank.")
    with open_deployment(load_settings()) as opened:
        calendar = opened.settings.calendar
        week = calendar.require_week(week_ending, opened.clock.now())
        engine, names = opened.warehouse.engine, opened.warehouse.tokens.list_names()
        if organisation is not None and organisation not in list_known_tenants(engine):
            raise NothingToExplain(
                f"There is no organisation {organisation}.", advice="`xero-pipeline status` lists them."
            )
        explanations = [
            found
            for tenant_id in ([organisation] if organisation else list_tenants_with_figures(engine))
            for found in FigureExplainer(
                engine, tenant_id, week, max_documents=None if as_json else _MAX_DOCUMENTS
            ).explain(account=account, revenue_type=revenue_type, region=region, bank=bank)
        ]
    if not explanations:
        raise NothingToExplain(
            f"The week ending {week} has no such figure.",
            advice=f"`xero-pipeline explain --week-ending {week}` shows which it has; if none, sync the week.",
        )
    if as_json:
        print_json([{"tenantName": names.get(each.tenant_id)} | explanation_to_dict(each) for each in explanations])
        return
    for each in explanations:
        _print_explanation(each, names.get(each.tenant_id, each.tenant_id), calendar)


def _print_explanation(explanation: Explanation, organisation: str, calendar: Calendar) -> None:
    share = f", {explanation.share} % of its total" if explanation.share is not None else ""
    figure = explanation.figure.replace("_", " ")
    print_line(
        f"{organisation}, week ending {explanation.week}: {explanation.name}, "
        f"{figure} {explanation.amount:,} {explanation.currency}{share}"
    )
    if explanation.parts:
        rows = [(part.name, f"{part.amount:,}", part.note or "") for part in explanation.parts]
        print_table(("Made of", "Amount", ""), rows, figures=("Amount",))
    if explanation.documents:
        titles = ("Number", "Date", "Contact", "Status", "Adds to revenue", "Tax", "Link")
        documents = [
            (
                document.document_number or document.document_id,
                document.document_date.isoformat(),
                document.contact_name or "",
                document.status,
                f"{document.adds:,}",
                f"{document.tax:,}",
                document.xero_url or "",
            )
            for document in explanation.documents
        ]
        print_table(titles, documents, figures=("Adds to revenue", "Tax"))
        left = (explanation.sums.count if explanation.sums else 0) - len(explanation.documents)
        if left > 0:
            print_line(f"… and {left} more; --json lists them all")
    if len(explanation.weeks) > 1:
        weeks = [
            (str(each.week), f"{each.amount:,}", "" if each.share is None else f"{each.share} %")
            for each in explanation.weeks
        ]
        print_table(("Week ending", "Amount", "Share"), weeks, figures=("Amount", "Share"))
    for entry in explanation.history:
        when = format_local_time(entry.row["restated_at"], calendar.timezone)
        print_line(
            f"restated {when}: {entry.row['column_name']} {entry.row['old_value'] or 'nothing'} -> "
            f"{entry.row['new_value'] or 'nothing'} (run {entry.row['dagster_run_id'] or 'unknown'})"
        )
        for change in entry.documents:
            print_line(f"  {describe_change(change)}")
    if explanation.note:
        print_line(explanation.note)


def describe_change(change: DocumentChange) -> str:
    """Describe in a line how a document changed a figure."""
    name = " ".join(filter(None, (change.document_number or change.document_id, change.contact_name)))
    if change.old_net is None:
        came = f", moved from the week ending {change.other_week}" if change.other_week else ""
        return f"{name}: new, {change.new_net:,}{came}"
    if change.new_net is None:
        went = f"moved to the week ending {change.other_week}" if change.other_week else "no longer counted"
        return f"{name}: {change.old_net:,} before, {went}"
    return f"{name}: {change.old_net:,} -> {change.new_net:,}"
