"""The lines of a week's documents add up to the week's revenue, cell by cell.

Both are written in one transaction, so only a manual change can break this. Weeks that landed before documents were
stored are skipped. The sums are made in SQL. All weeks of the run are compared, then the newest others until so many
documents have been added up that a check of a large history would take too long.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from xero_pipeline.money import ZERO
from xero_pipeline.warehouse.checks.snapshot import Key, Violation
from xero_pipeline.warehouse.database.exact_sums import sum_cents, to_money
from xero_pipeline.warehouse.figures.document_queries import IS_LINE_OF_DOCUMENT
from xero_pipeline.warehouse.figures.queries import open_snapshot
from xero_pipeline.warehouse.figures.revenue_documents import CREDIT_NOTE
from xero_pipeline.warehouse.logs.sync_log import LANDED, SyncType
from xero_pipeline.warehouse.schema import revenue_document_lines as lines
from xero_pipeline.warehouse.schema import revenue_documents as documents
from xero_pipeline.warehouse.schema import revenue_weekly, xero_sync_logs
from xero_pipeline.weeks import Week

# Besides the run's own weeks.
MAX_DOCUMENTS = 200_000

_Cell = tuple[str, str]
_Sums = dict[str, Any]
# Not `net_revenue`: another rule says that it is invoiced less credited.
_AMOUNTS = ("invoiced", "credited", "tax", "invoice_count", "credit_note_count")
_EMPTY: _Sums = {name: 0 if name.endswith("count") else ZERO for name in _AMOUNTS}


def check_documents_add_up(
    engine: Engine,
    run_weeks: Collection[Week] | None,
    without: Collection[str] = (),
    max_documents: int = MAX_DOCUMENTS,
) -> list[Violation]:
    """Each cell of `revenue_weekly` is what the lines of the week's documents add up to.

    Args:
        run_weeks: the weeks that are compared in any case.
        without: organisations that are left out, by tenant id.
        max_documents: how many documents of other weeks are added up at most.
    """
    violations: list[Violation] = []
    with open_snapshot(engine) as connection:
        by_tenant: dict[str, list[Week]] = defaultdict(list)
        for tenant_id, week in _choose_weeks(connection, run_weeks or (), without, max_documents):
            by_tenant[tenant_id].append(week)
        for tenant_id, weeks in sorted(by_tenant.items()):
            stored, summed = _read_cells(connection, tenant_id, weeks), _sum_lines(connection, tenant_id, weeks)
            for week in sorted(weeks):
                violations += _compare((tenant_id, week), stored[week], summed[week])
    return violations


def _choose_weeks(
    connection: Connection, run_weeks: Collection[Week], without: Collection[str], max_documents: int
) -> Iterator[Key]:
    logs = xero_sync_logs.c
    with_documents = (
        select(logs.tenant_id, logs.week_ending, func.max(logs.documents))
        .where(logs.sync_type == SyncType.INVOICES.value, logs.status.in_(LANDED), logs.documents.is_not(None))
        .group_by(logs.tenant_id, logs.week_ending)
        .order_by(logs.week_ending.desc(), logs.tenant_id)
    )
    added_up = 0
    for tenant_id, ending, count in connection.execute(with_documents):
        week = Week(ending)
        if tenant_id in without:
            continue
        if week in run_weeks:
            yield tenant_id, week
        elif added_up + count <= max_documents:
            added_up += count
            yield tenant_id, week


def _read_cells(connection: Connection, tenant_id: str, weeks: Iterable[Week]) -> Mapping[Week, Mapping[_Cell, _Sums]]:
    table = revenue_weekly.c
    query = select(revenue_weekly).where(
        table.tenant_id == tenant_id, table.week_ending.in_([week.ending for week in weeks])
    )
    cells: dict[Week, dict[_Cell, _Sums]] = defaultdict(dict)
    for row in connection.execute(query).mappings():
        cells[Week(row["week_ending"])][row["revenue_type"], row["region"]] = {name: row[name] for name in _AMOUNTS}
    return cells


def _sum_lines(connection: Connection, tenant_id: str, weeks: Iterable[Week]) -> Mapping[Week, Mapping[_Cell, _Sums]]:
    key = (lines.c.week_ending, lines.c.revenue_type, lines.c.region, documents.c.document_type)
    query = (
        select(*key, sum_cents(lines.c.net), sum_cents(lines.c.tax), func.count(lines.c.document_id.distinct()))
        .join_from(lines, documents, IS_LINE_OF_DOCUMENT)
        .where(lines.c.tenant_id == tenant_id, lines.c.week_ending.in_([week.ending for week in weeks]))
        .group_by(*key)
    )
    sums: dict[Week, dict[_Cell, _Sums]] = defaultdict(dict)
    for ending, revenue_type, region, document_type, net_cents, tax_cents, count in connection.execute(query):
        cell = sums[Week(ending)].setdefault((revenue_type, region), dict(_EMPTY))
        net, tax = to_money(net_cents), to_money(tax_cents)
        is_credit = document_type == CREDIT_NOTE
        cell["credited" if is_credit else "invoiced"] += net
        cell["tax"] += -tax if is_credit else tax
        cell["credit_note_count" if is_credit else "invoice_count"] += count
    return sums


def _compare(key: Key, stored: Mapping[_Cell, _Sums], summed: Mapping[_Cell, _Sums]) -> Iterator[Violation]:
    for cell in sorted(stored.keys() | summed.keys()):
        held, found = stored.get(cell, _EMPTY), summed.get(cell, _EMPTY)
        wrong = [name for name in _AMOUNTS if held[name] != found[name]]
        if wrong:
            name = " / ".join(cell)
            amounts: dict[str, Decimal | int] = {}
            for column in wrong:
                amounts |= {column: held[column], f"{column} of documents": found[column]}
            parts = [f"{column} is {held[column]}, but its documents add up to {found[column]}" for column in wrong]
            yield Violation(*key, name, amounts, f"{name}: {'; '.join(parts)}.")
