"""Parses the mock's reports and documents into plain figures, by Xero's rules and without the package's readers."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

Json = dict[str, Any]


def read_sections(report: Json) -> list[tuple[str, list[Json]]]:
    """A report's sections, each with its title and rows, which may be missing."""
    rows = report["Reports"][0]["Rows"]
    assert rows[0]["RowType"] == "Header"
    return [(row.get("Title", ""), row.get("Rows", [])) for row in rows[1:]]


def read_values(row: Json) -> list[str]:
    return [cell["Value"] for cell in row["Cells"]]


def find_account(row: Json) -> str | None:
    """The account id of a detail row; `None` for a total or a profit line."""
    return next(
        (
            attribute["Value"]
            for cell in row["Cells"]
            for attribute in cell.get("Attributes", [])
            if attribute["Id"] == "account"
        ),
        None,
    )


def read_account_lines(report: Json) -> dict[str, tuple[str, Decimal]]:
    """By account id of each detail row: its section's title, and the first column's amount."""
    lines = {}
    for title, rows in read_sections(report):
        for row in rows:
            account = find_account(row)
            if account is not None:
                assert account not in lines
                lines[account] = (title, Decimal(read_values(row)[1]))
    return lines


def read_profit(report: Json, label: str) -> Decimal:
    """The amount of a profit line, which is a Row in a section without a title."""
    rows = [row for title, rows in read_sections(report) if not title for row in rows]
    return next(
        Decimal(read_values(row)[1]) for row in rows if row["RowType"] == "Row" and read_values(row)[0] == label
    )


def read_bank_rows(report: Json) -> dict[str, dict[str, Decimal]]:
    """By account id, and `Total`: the amounts of the row by column title."""
    titles = read_values(report["Reports"][0]["Rows"][0])
    rows_by_key = {}
    for _, rows in read_sections(report):
        for row in rows:
            name = row["Cells"][0]
            key = name["Attributes"][0]["Value"] if row["RowType"] == "Row" else name["Value"]
            rows_by_key[key] = dict(zip(titles[1:], map(Decimal, read_values(row)[1:]), strict=True))
    return rows_by_key


def calculate_net(document: Json, line: Json) -> Decimal:
    """A line's amount without tax, in the document's currency."""
    amount = Decimal(line["LineAmount"])
    return amount - Decimal(line["TaxAmount"]) if document["LineAmountTypes"] == "Inclusive" else amount


def convert_to_base(document: Json, amount: Decimal) -> Decimal:
    """An amount in base currency: amount / rate, rounded to the cent."""
    rate = Decimal(document.get("CurrencyRate", 1))
    return (amount / rate).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def sum_revenue(documents: list[Json]) -> Decimal:
    """The sum of counted sales invoices minus credit notes, without tax, in base currency."""
    total = Decimal(0)
    for document in documents:
        if document["Status"] not in ("AUTHORISED", "PAID") or not document["Type"].startswith("ACCREC"):
            continue
        sign = -1 if document["Type"] == "ACCRECCREDIT" else 1
        total += sign * sum(convert_to_base(document, calculate_net(document, line)) for line in document["LineItems"])
    return total
