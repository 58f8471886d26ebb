"""The documents behind a week's revenue, stored by real runs with the mock Xero on both databases."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from sqlalchemy import Table, select, text

from xero_pipeline.mock_xero import MockLine, MockOrganisation
from xero_pipeline.warehouse.checks.documents import check_documents_add_up
from xero_pipeline.warehouse.figures.explanation import ALL_REVENUE, TOTALS, FigureExplainer
from xero_pipeline.warehouse.figures.explanation_types import Explanation
from xero_pipeline.warehouse.schema import (
    revenue_document_changes,
    revenue_document_lines,
    revenue_documents,
    revenue_weekly,
)
from xero_pipeline.weeks import Week
from xero_pipeline_tests.deployment import SECOND, TENANT, RunningDeployment, describe_failing_checks, run_deployment

LARGER = MockOrganisation(documents=60)


def read(deployed: RunningDeployment, table: Table) -> list[Any]:
    with deployed.warehouse.engine.connect() as connection:
        return list(connection.execute(select(table).order_by(*table.primary_key.columns)))


def add_up(deployed: RunningDeployment) -> dict[tuple[str, Week, str, str], list[Any]]:
    """What `revenue_weekly` must have, added up in Python from the documents' lines."""
    types = {(row.tenant_id, row.week_ending, row.document_id): row for row in read(deployed, revenue_documents)}
    cells: dict[Any, list[Any]] = defaultdict(lambda: [Decimal(0), Decimal(0), Decimal(0), set(), set()])
    for line in read(deployed, revenue_document_lines):
        cell = cells[line.tenant_id, Week(line.week_ending), line.revenue_type, line.region]
        is_credit = types[line.tenant_id, line.week_ending, line.document_id].document_type == "credit_note"
        cell[1 if is_credit else 0] += line.net
        cell[2] += -line.tax if is_credit else line.tax
        cell[4 if is_credit else 3].add(line.document_id)
    return {key: [*cell[:3], len(cell[3]), len(cell[4])] for key, cell in cells.items()}


def read_cells(deployed: RunningDeployment) -> dict[tuple[str, Week, str, str], list[Any]]:
    return {
        (row.tenant_id, Week(row.week_ending), row.revenue_type, row.region): [
            row.invoiced,
            row.credited,
            row.tax,
            row.invoice_count,
            row.credit_note_count,
        ]
        for row in read(deployed, revenue_weekly)
    }


def read_changes(deployed: RunningDeployment) -> list[tuple[Any, ...]]:
    return [
        (Week(row.week_ending), row.document_id, row.old_net, row.new_net, row.dagster_run_id)
        for row in read(deployed, revenue_document_changes)
    ]


def test_the_documents_of_each_week_add_up_to_its_revenue_and_keep_what_people_know_them_by(
    tmp_path: Path, database_url: str
) -> None:
    organisations = (LARGER, SECOND)
    with run_deployment(tmp_path, database_url=database_url, organisations=organisations) as deployed:
        # A line in a foreign currency whose amount in base currency is rounded, and a line that is only text.
        foreign = deployed.mock.add_invoice(
            TENANT,
            date=deployed.latest.start,
            lines=[MockLine(Decimal("10.00"), revenue_type="Commercial", region="North")] * 3,
            currency="USD",
            rate=Decimal("0.654321"),
        )
        first = deployed.latest.shift(-1)
        result = deployed.sync(first, deployed.latest, checks=True)

        assert result.success
        assert describe_failing_checks(result) == {}
        assert add_up(deployed) == read_cells(deployed)
        documents, lines = read(deployed, revenue_documents), read(deployed, revenue_document_lines)
        assert {row.document_type for row in documents} == {"invoice", "credit_note"}
        assert {row.status for row in documents} <= {"AUTHORISED", "PAID"}
        assert all(row.contact_name and row.contact_id and row.document_number for row in documents)
        assert all(row.document_date in Week(row.week_ending) for row in documents)
        (stored,) = (row for row in documents if row.document_id == foreign)
        assert (stored.document_currency, stored.currency_rate) == ("USD", Decimal("0.654321"))
        foreign_lines = [row for row in lines if row.document_id == foreign]
        assert [(row.line_number, row.document_net, row.net) for row in foreign_lines] == [
            (number, Decimal("10.00"), Decimal("15.28")) for number in (1, 2, 3)
        ]
        assert stored.net == Decimal("45.84")
        assert stored.contact_name == "Late Customer Pty Ltd"
        short_code = deployed.deployment.xero.list_organisations()[0].details.short_code
        assert stored.xero_url == f"https://go.xero.com/app/{short_code}/invoicing/view/{foreign}"
        credit = next(row for row in documents if row.document_type == "credit_note" and row.tenant_id == TENANT)
        assert credit.xero_url == (
            f"https://go.xero.com/organisationlogin/default.aspx?shortcode={short_code}"
            f"&redirecturl=/AccountsReceivable/ViewCreditNote.aspx?creditNoteID={credit.document_id}"
        )
        assert credit.net > 0
        # Reading the weeks again changes no row.
        deployed.clock.advance(hours=1)
        deployed.sync(first, deployed.latest)
        assert (read(deployed, revenue_documents), read(deployed, revenue_document_lines)) == (documents, lines)
        assert read_changes(deployed) == []


def test_a_change_in_a_landed_week_is_kept_with_its_document_and_both_amounts(
    tmp_path: Path, database_url: str
) -> None:
    with run_deployment(tmp_path, database_url=database_url, KEEP_CONTACT_NAMES="false") as deployed:
        week, before = deployed.latest, deployed.latest.shift(-1)
        add, line = deployed.mock.add_invoice, MockLine(Decimal("80.00"), revenue_type="Commercial", region="North")
        edited, voided, moved = (add(TENANT, date=week.start, lines=[line]) for _ in range(3))
        deployed.sync(before, week)
        assert {row.contact_name for row in read(deployed, revenue_documents)} == {None}
        rest = {row.document_id: row for row in read(deployed, revenue_documents)}

        deployed.clock.advance(hours=1)
        deployed.mock.edit_invoice(TENANT, edited, change=Decimal("20.00"))
        deployed.mock.void_invoice(TENANT, voided)
        deployed.mock.move_invoice(TENANT, moved, before.ending)
        late = add(TENANT, date=week.ending, lines=[line])
        run = deployed.sync(before, week, checks=True).run_id

        amount, more = Decimal("80.00"), Decimal("100.00")
        assert set(read_changes(deployed)) == {
            (before, moved, None, amount, run),
            (week, moved, amount, None, run),
            (week, edited, amount, more, run),
            (week, voided, amount, None, run),
            (week, late, None, amount, run),
        }
        assert add_up(deployed) == read_cells(deployed)
        assert check_documents_add_up(deployed.warehouse.engine, None) == []
        # What did not change was not written.
        unchanged = {row.document_id: row for row in read(deployed, revenue_documents)}
        for document in (edited, voided, moved, late):
            rest.pop(document, None)
            unchanged.pop(document, None)
        assert unchanged == rest


def test_a_week_from_before_documents_were_stored_gets_them_without_false_changes_or_alarms(tmp_path: Path) -> None:
    with run_deployment(tmp_path) as deployed:
        deployed.sync()
        with deployed.warehouse.engine.begin() as connection:
            for table in (revenue_documents, revenue_document_lines):
                connection.execute(table.delete())
            connection.execute(text("UPDATE xero_sync_logs SET documents = NULL"))
        assert check_documents_add_up(deployed.warehouse.engine, [deployed.latest]) == []
        deployed.clock.advance(hours=1)
        deployed.sync()
        assert add_up(deployed) == read_cells(deployed) != {}
        assert read_changes(deployed) == []

        # Now that they are stored, a line that somebody changes or deletes is found, whichever weeks a run is about.
        engine = deployed.warehouse.engine
        with engine.begin() as connection:
            connection.execute(text("UPDATE revenue_document_lines SET net = '0.01' WHERE line_number = 1"))
        violations = check_documents_add_up(engine, [deployed.latest.shift(-1)])
        assert violations
        assert "but its documents add up to" in violations[0].sentence
        assert check_documents_add_up(engine, [deployed.latest.shift(-1)], max_documents=0) == []
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM revenue_documents"))
        names = {violation.row for violation in check_documents_add_up(engine, [deployed.latest], max_documents=0)}
        assert names == {f"{row.revenue_type} / {row.region}" for row in read(deployed, revenue_weekly)}


def test_every_figure_of_a_week_is_explained_to_the_cent_and_a_change_by_its_document(
    tmp_path: Path, database_url: str
) -> None:
    with run_deployment(tmp_path, database_url=database_url, organisations=(LARGER,)) as deployed:
        week, before = deployed.latest, deployed.latest.shift(-1)
        line = MockLine(Decimal("80.00"), revenue_type="Commercial", region="North")
        edited, moved = (deployed.mock.add_invoice(TENANT, date=week.start, lines=[line]) for _ in range(2))
        deployed.sync(before, week)
        deployed.clock.advance(hours=1)
        deployed.mock.edit_invoice(TENANT, edited, change=Decimal("20.00"))
        deployed.mock.move_invoice(TENANT, moved, before.ending)
        run_id = deployed.sync(before, week).run_id

        engine = deployed.warehouse.engine
        explainer = FigureExplainer(engine, TENANT, week)
        figures = deployed.warehouse.read_week_figures(TENANT, week)
        assert figures.profit_and_loss is not None
        for column in TOTALS:
            (explained,) = explainer.explain(total=column)
            assert (explained.amount, add(explained)) == (figures.profit_and_loss[column],) * 2
        for row in figures.lines:
            (explained,) = explainer.explain(account=row["account_id"])
            assert (explained.amount, add(explained)) == (row["amount"], row["amount"])
            assert explained.weeks[-1].week == week
        for row in figures.revenue:
            (explained,) = explainer.explain(revenue_type=row["revenue_type"], region=row["region"])
            assert (explained.amount, add(explained)) == (row["net_revenue"], row["net_revenue"])
            assert sum((document.adds for document in explained.documents), Decimal("0.00")) == row["net_revenue"]
            documents = [document.document_type for document in explained.documents]
            assert documents.count("invoice") == row["invoice_count"]
            assert documents.count("credit_note") == row["credit_note_count"]
        for row in figures.cash:
            (explained,) = explainer.explain(bank=row["bank_account_name"])
            assert (explained.amount, add(explained)) == (row["closing_balance"], row["closing_balance"])
            assert explained.parts[0].note == f"the closing balance of the week ending {before}"

        (cell,) = explainer.explain(revenue_type="commercial", region="north")
        (entry,) = [each for each in cell.history if each.row["column_name"] == "net_revenue"]
        assert Decimal(entry.row["new_value"]) - Decimal(entry.row["old_value"]) == Decimal("-60.00")
        assert entry.row["dagster_run_id"] == run_id
        changes = {change.document_id: change for change in entry.documents}
        assert {key: (each.old_net, each.new_net, each.other_week) for key, each in changes.items()} == {
            edited: (Decimal("80.00"), Decimal("100.00"), None),
            moved: (Decimal("80.00"), None, before),
        }
        assert str(changes[edited].xero_url).endswith(edited)
        (earlier,) = FigureExplainer(engine, TENANT, before).explain(revenue_type="commercial", region="north")
        assert {(each.document_id, each.other_week) for each in earlier.history[0].documents} == {(moved, week)}
        account = explainer.explain_account("200")
        assert account is not None
        assert {change.document_id for change in account.history[0].documents} == {edited, moved}
        assert account.share is not None
        # Figures that the week does not have, and lists that are cut.
        assert explainer.explain(account="no such account") == explainer.explain(bank="none") == []
        (first_of_many,) = FigureExplainer(engine, TENANT, week, max_documents=1).explain(total=ALL_REVENUE)
        assert len(first_of_many.documents) == 1
        assert first_of_many.sums is not None
        assert first_of_many.sums.count > 1


def add(explanation: Explanation) -> Decimal:
    return sum((part.amount for part in explanation.parts), Decimal("0.00"))
