"""Reads the mock's reports and documents back into plain figures, by Xero's rules alone."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

Json = dict[str, Any]


def sections(report: Json) -> list[tuple[str, list[Json]]]:
    """A report's sections with their rows; a section may lack its title or its rows."""
    rows = report["Reports"][0]["Rows"]
    assert rows[0]["RowType"] == "Header"
    return [(row.get("Title", ""), row.get("Rows", [])) for row in rows[1:]]


def values(row: Json) -> list[str]:
    return [cell["Value"] for cell in row["Cells"]]


def account_of(row: Json) -> str | None:
    """The account of a detail row; totals and profit lines have none."""
    return next(
        (one["Value"] for cell in row["Cells"] for one in cell.get("Attributes", []) if one["Id"] == "account"), None
    )


def account_lines(report: Json) -> dict[str, tuple[str, Decimal]]:
    """Detail rows by account: the section's title, and the first column's amount."""
    found = {}
    for title, rows in sections(report):
        for row in rows:
            account = account_of(row)
            if account is not None:
                assert account not in found
                found[account] = (title, Decimal(values(row)[1]))
    return found


def profit(report: Json, label: str) -> Decimal:
    """A profit line: a Row in a section without a title."""
    rows = [row for title, rows in sections(report) if not title for row in rows]
    return next(Decimal(values(row)[1]) for row in rows if row["RowType"] == "Row" and values(row)[0] == label)


def bank_rows(report: Json) -> dict[str, dict[str, Decimal]]:
    """Each account's row by column title; the total under `Total`."""
    titles = values(report["Reports"][0]["Rows"][0])
    found = {}
    for _, rows in sections(report):
        for row in rows:
            name = row["Cells"][0]
            key = name["Attributes"][0]["Value"] if row["RowType"] == "Row" else name["Value"]
            found[key] = dict(zip(titles[1:], map(Decimal, values(row)[1:]), strict=True))
    return found


def net_of(document: Json, line: Json) -> Decimal:
    """A line without tax, in the document's currency."""
    amount = Decimal(line["LineAmount"])
    return amount - Decimal(line["TaxAmount"]) if document["LineAmountTypes"] == "Inclusive" else amount


def in_base(document: Json, amount: Decimal) -> Decimal:
    """In base currency: amount / rate, to the cent."""
    rate = Decimal(document.get("CurrencyRate", 1))
    return (amount / rate).quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)


def revenue_of(documents: list[Json]) -> Decimal:
    """What sales invoices and credit notes that count come to, without tax, in base currency."""
    total = Decimal(0)
    for document in documents:
        if document["Status"] not in ("AUTHORISED", "PAID") or not document["Type"].startswith("ACCREC"):
            continue
        sign = -1 if document["Type"] == "ACCRECCREDIT" else 1
        total += sign * sum(in_base(document, net_of(document, line)) for line in document["LineItems"])
    return total
