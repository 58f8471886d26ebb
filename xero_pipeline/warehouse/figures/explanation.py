"""What a figure of one organisation's week is made of: its parts, the documents, its other weeks, its history.

The parts of every explanation add up to its figure to the cent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, Table, select

from xero_pipeline.identifiers import normalise_name
from xero_pipeline.warehouse.figures.document_queries import (
    DocumentChange,
    DocumentSelection,
    DocumentSums,
    SelectedDocument,
    list_document_changes,
    list_documents,
    sum_documents,
)
from xero_pipeline.warehouse.figures.explanation_types import Explanation, HistoryEntry, Part, Row, WeekAmount
from xero_pipeline.warehouse.figures.queries import open_snapshot
from xero_pipeline.warehouse.figures.revenue_documents import are_documents_stored
from xero_pipeline.warehouse.schema import (
    cash_position_weekly,
    financial_weekly,
    financial_weekly_lines,
    restatements,
    revenue_weekly,
)
from xero_pipeline.weeks import Week

# How many weeks of the same figure are listed, the explained one included.
WEEKS_SHOWN = 13

_ZERO = Decimal("0.00")
_TOTAL_OF = {
    "trading_income": "total_trading_income",
    "cost_of_sales": "cost_of_sales",
    "other_income": "other_income",
    "operating_expenses": "operating_expenses",
}
_COSTS = ("cost_of_sales", "operating_expenses")
# The totals that are made of other totals, with their signs.
_FORMULAS = {
    "gross_profit": (("total_trading_income", 1), ("cost_of_sales", -1)),
    "net_profit": (("gross_profit", 1), ("other_income", 1), ("operating_expenses", -1)),
}
TOTALS = (*_TOTAL_OF.values(), *_FORMULAS)
# Names the revenue of all types and regions among the totals.
ALL_REVENUE = "net_revenue"
_WHOLE_WEEK = "week"
_ON_CASH_BASIS = (
    "The profit and loss of this week is on cash basis: it counts what was paid. Documents count by their own date, so "
    "they do not explain it."
)


class FigureExplainer:
    """Explains figures of one organisation's week. `None` where there is no such figure.

    Args:
        max_documents: how many documents each explanation lists; `None` for all.
    """

    def __init__(self, engine: Engine, tenant_id: str, week: Week, *, max_documents: int | None = None) -> None:
        self._engine = engine
        self._tenant_id = tenant_id
        self._week = week
        self._max_documents = max_documents

    def explain(
        self,
        *,
        total: str | None = None,
        account: str | None = None,
        revenue_type: str | None = None,
        region: str | None = None,
        bank: str | None = None,
    ) -> list[Explanation]:
        """Explain the named figure; where none is named, every total of the profit and loss and the whole revenue."""
        revenue_type, region = (normalise_name(name) or None for name in (revenue_type, region))
        if total == ALL_REVENUE:
            found = [self.explain_revenue()]
        elif total is not None:
            found = [self.explain_total(total)]
        elif account is not None:
            found = [self.explain_account(account)]
        elif bank is not None:
            found = [self.explain_bank(bank)]
        elif revenue_type is not None or region is not None:
            found = [self.explain_revenue(revenue_type, region)]
        else:
            found = [*map(self.explain_total, TOTALS), self.explain_revenue()]
        return [explanation for explanation in found if explanation is not None]

    def explain_total(self, column: str) -> Explanation | None:
        """Explain a total of the profit and loss by its accounts or by other totals.

        Raises:
            KeyError: the profit and loss has no such total.
        """
        if column not in TOTALS:
            raise KeyError(column)
        with open_snapshot(self._engine) as connection:
            rows = self._read_weeks(connection, financial_weekly)
            row = _find(rows, self._week)
            if row is None:
                return None
            parts = (
                [Part(_humanise(name), sign * row[name], key=name) for name, sign in _FORMULAS[column]]
                if column in _FORMULAS
                else [
                    Part(_name_account(line), line["amount"], key=line["account_id"])
                    for line in self._read_week(connection, financial_weekly_lines)
                    if _TOTAL_OF[line["category"]] == column
                ]
            )
            return self._build(
                connection,
                row,
                "total",
                _humanise(column),
                column,
                parts=parts,
                weeks=[WeekAmount(Week(each["week_ending"]), each[column]) for each in rows],
                history=self._read_history(
                    connection,
                    "financial_weekly",
                    [_WHOLE_WEEK],
                    (column,),
                    None if row["basis"] == "cash" else {},
                ),
            )

    def explain_account(self, account: str) -> Explanation | None:
        """Explain an account of the profit and loss, by its code, its id or its name."""
        with open_snapshot(self._engine) as connection:
            lines = self._read_week(connection, financial_weekly_lines)
            line = _pick(lines, account, "account_code", "account_id", "account_name")
            if line is None:
                return None
            code = line["account_code"]
            weeks = self._weigh_weeks(connection, line)
            is_cash = any(row["basis"] == "cash" for row in self._read_week(connection, financial_weekly))
            selection = {"account_code": code} if code and not is_cash else None
            sums = self._sum(connection, **selection) if selection else None
            parts = []
            if sums is not None and sums.count:
                parts.append(_build_documents_part(sums, line["category"]))
            # All that is not from sales documents: bills, money without a document, journals.
            if rest := line["amount"] - sum((part.amount for part in parts), _ZERO):
                parts.append(Part("Other entries in Xero" if parts else "Entries in Xero", rest))
            return self._build(
                connection,
                line,
                "account",
                _name_account(line),
                "amount",
                parts=parts,
                share=next((each.share for each in weeks if each.week == self._week), None),
                documents=self._list(connection, sums, **(selection or {})),
                sums=sums if sums is not None and sums.count else None,
                weeks=weeks,
                history=self._read_history(
                    connection, "financial_weekly_lines", [line["account_id"]], ("amount",), selection
                ),
                note=_ON_CASH_BASIS if is_cash else None,
            )

    def explain_revenue(self, revenue_type: str | None = None, region: str | None = None) -> Explanation | None:
        """Explain the revenue of a type in a region, or of all types or regions, by its documents."""
        with open_snapshot(self._engine) as connection:
            cells = [
                row
                for row in self._read_week(connection, revenue_weekly)
                if revenue_type in (None, row["revenue_type"]) and region in (None, row["region"])
            ]
            if not cells:
                return None
            names = ("invoiced", "credited", "net_revenue", "tax", "invoice_count", "credit_note_count")
            figures = {name: sum((row[name] for row in cells[1:]), cells[0][name]) for name in names}
            selection = {"revenue_type": revenue_type, "region": region}
            sums = self._sum(connection, **selection)
            if sums is None:
                parts = [Part("Invoiced", figures["invoiced"]), Part("Credited", -figures["credited"])]
            else:
                parts = [
                    Part("Invoices", sums.invoiced, _count_invoices(sums)),
                    Part("Credit notes", -sums.credited, _count_credit_notes(sums)),
                ]
            single = revenue_type is not None and region is not None
            return self._build(
                connection,
                cells[0],
                "revenue",
                " / ".join(filter(None, (revenue_type, region))) or "all revenue",
                "net_revenue",
                amount=figures["net_revenue"],
                parts=parts,
                # A document may be counted in several cells.
                figures=figures if single else {name: figures[name] for name in names[:4]},
                documents=self._list(connection, sums, **selection),
                sums=sums,
                history=self._read_history(
                    connection,
                    "revenue_weekly",
                    [f"{row['revenue_type']} / {row['region']}" for row in cells],
                    names,
                    selection,
                ),
                note=None
                if sums is not None
                else "The documents of this week are not stored, since an older version landed it. To see them, sync "
                "the week again.",
            )

    def explain_bank(self, bank: str) -> Explanation | None:
        """Explain a bank account's closing balance, by its name or its id."""
        with open_snapshot(self._engine) as connection:
            row = _pick(self._read_week(connection, cash_position_weekly), bank, "bank_account_id", "bank_account_name")
            if row is None:
                return None
            same = [
                each
                for each in self._read_weeks(connection, cash_position_weekly)
                if each["bank_account_id"] == row["bank_account_id"]
            ]
            opening = _compare_opening(row, _find(same, self._week.shift(-1)))
            parts = [
                Part("Opening balance", row["opening_balance"], opening),
                Part("Received", row["cash_received"]),
                Part("Spent", -row["cash_spent"]),
                Part("Currency gain", row["currency_gain"]),
            ]
            names = ("opening_balance", "cash_received", "cash_spent", "currency_gain", "closing_balance")
            return self._build(
                connection,
                row,
                "bank",
                row["bank_account_name"],
                "closing_balance",
                parts=[part for part in parts if part.amount or part.name != "Currency gain"],
                figures={name: row[name] for name in names},
                weeks=[WeekAmount(Week(each["week_ending"]), each["closing_balance"]) for each in same],
                history=self._read_history(connection, "cash_position_weekly", [row["bank_account_id"]], names, None),
            )

    # ---- reading ------------------------------------------------------------------------------------------

    def _build(self, connection: Connection, row: Row, kind: str, name: str, figure: str, **values: Any) -> Explanation:
        amount = values.pop("amount", row[figure])
        parts = list(values.pop("parts"))
        if rest := amount - sum((part.amount for part in parts), _ZERO):
            # Somebody changed the tables by hand: the asset checks say so, too.
            parts.append(Part("Unexplained", rest, "the tables do not add up; sync the week again"))
        return Explanation(
            self._tenant_id, self._week, row["currency"], kind, name, figure, amount, parts=parts, **values
        )

    def _sum(self, connection: Connection, **selection: str | None) -> DocumentSums | None:
        if not are_documents_stored(connection, self._tenant_id, self._week):
            return None
        return sum_documents(connection, DocumentSelection(self._tenant_id, self._week, **selection))

    def _list(
        self, connection: Connection, sums: DocumentSums | None, **selection: str | None
    ) -> list[SelectedDocument]:
        if sums is None or not sums.count:
            return []
        return list_documents(
            connection, DocumentSelection(self._tenant_id, self._week, **selection), self._max_documents
        )

    def _read_week(self, connection: Connection, table: Table) -> list[Row]:
        return self._read(connection, table, [self._week])

    def _read_weeks(self, connection: Connection, table: Table) -> list[Row]:
        return self._read(connection, table, [self._week.shift(-n) for n in range(WEEKS_SHOWN)])

    def _read(self, connection: Connection, table: Table, weeks: Iterable[Week]) -> list[Row]:
        query = select(table).where(
            table.c.tenant_id == self._tenant_id, table.c.week_ending.in_([week.ending for week in weeks])
        )
        return [dict(row) for row in connection.execute(query.order_by(*table.primary_key.columns)).mappings()]

    def _weigh_weeks(self, connection: Connection, line: Row) -> list[WeekAmount]:
        """The account's amounts, and its share of the category's total in each week."""
        totals = {row["week_ending"]: row for row in self._read_weeks(connection, financial_weekly)}
        weeks = []
        for each in self._read_weeks(connection, financial_weekly_lines):
            if each["account_id"] == line["account_id"]:
                total = totals.get(each["week_ending"], {}).get(_TOTAL_OF[each["category"]])
                share = (each["amount"] * 100 / total).quantize(Decimal("0.1")) if total else None
                weeks.append(WeekAmount(Week(each["week_ending"]), each["amount"], share))
        return weeks

    def _read_history(
        self,
        connection: Connection,
        table: str,
        row_keys: Sequence[str],
        columns: Sequence[str],
        selection: Mapping[str, str | None] | None,
    ) -> list[HistoryEntry]:
        """The restatements of rows, newest first. `selection` chooses the documents that can have caused them."""
        where = [
            restatements.c.tenant_id == self._tenant_id,
            restatements.c.week_ending == self._week.ending,
            restatements.c.table_name == table,
            restatements.c.column_name.in_(columns),
            restatements.c.row_key.in_(row_keys),
        ]
        query = select(restatements).where(*where).order_by(restatements.c.restated_at.desc(), restatements.c.id)
        rows = connection.execute(query).mappings().all()
        if selection is None or not rows:
            return [HistoryEntry(dict(row), ()) for row in rows]
        changes = list_document_changes(
            connection, DocumentSelection(self._tenant_id, self._week, **selection), self._max_documents
        )
        return [
            HistoryEntry(dict(row), [each for each in changes if _belongs(each, row)][: self._max_documents])
            for row in rows
        ]


def _belongs(change: DocumentChange, restatement: RowMapping) -> bool:
    """Whether a document changed in the run that restated the figure, in the same row of revenue where it names one."""
    cell = f"{change.revenue_type} / {change.region}"
    if restatement["table_name"] == "revenue_weekly" and restatement["row_key"] != cell:
        return False
    # Without a run's id, only what landed at the same moment is known to be of the same sync.
    name = "restated_at" if restatement["dagster_run_id"] is None else "dagster_run_id"
    return bool(getattr(change, name) == restatement[name])


def _build_documents_part(sums: DocumentSums, category: str) -> Part:
    """What sales documents add to an account: an invoice adds to an income and takes away from a cost."""
    note = ", ".join(filter(None, (_count_invoices(sums), _count_credit_notes(sums))))
    if category in _COSTS:
        return Part("Credit notes less invoices", -sums.net_revenue, note)
    return Part("Invoices less credit notes", sums.net_revenue, note)


def _count_invoices(sums: DocumentSums) -> str | None:
    return _count(sums.invoice_count, "invoice")


def _count_credit_notes(sums: DocumentSums) -> str | None:
    return _count(sums.credit_note_count, "credit note")


def _count(count: int, noun: str) -> str | None:
    return f"{count} {noun}{'' if count == 1 else 's'}" if count else None


def _compare_opening(row: Row, before: Row | None) -> str:
    if before is None:
        return "the week before is not stored"
    ending = before["week_ending"]
    if before["closing_balance"] == row["opening_balance"]:
        return f"the closing balance of the week ending {ending}"
    return f"the week ending {ending} closed with {before['closing_balance']}: it has to be read again"


def _find(rows: Sequence[Row], week: Week) -> Row | None:
    return next((row for row in rows if row["week_ending"] == week.ending), None)


def _pick(rows: Sequence[Row], wanted: str, *columns: str) -> Row | None:
    """The row that has the text in one of the columns: the first column that has it decides."""
    for column in columns:
        for row in rows:
            if normalise_name(row[column]) == normalise_name(wanted):
                return row
    return None


def _name_account(line: Row) -> str:
    return f"{line['account_code']} {line['account_name']}" if line["account_code"] else str(line["account_name"])


def _humanise(column: str) -> str:
    return column.replace("_", " ").capitalize()
