"""Computes revenue from invoices and credit notes: each document by itself, then a week of them. Pure.

`reduce_document` keeps of a document what revenue depends on, so that a list of any length fits into memory.
`add_up_revenue` makes a week's cells of that.

Source: Xero's `Invoices` and `CreditNotes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd

from xero_pipeline.identifiers import normalise_id, normalise_name
from xero_pipeline.money import ZERO, to_cents, to_decimal
from xero_pipeline.periods import Period
from xero_pipeline.xero.errors import PayloadNotUnderstood, WrongPeriod
from xero_pipeline.xero.readers.document_heading import DocumentHeading, read_document_heading, read_text
from xero_pipeline.xero.readers.documents import (
    Document,
    get_document_key,
    get_document_name,
    is_counted,
    is_credit_note,
    is_sale,
    read_amount,
    read_document_date,
    read_keyword,
    read_updated_at,
)
from xero_pipeline.xero.readers.reports import Difference

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

UNALLOCATED = "unallocated"
AMOUNTS = ("invoiced", "credited", "net_revenue", "tax")
KEY, COUNTS = ("revenue_type", "region"), ("invoice_count", "credit_note_count")
COLUMNS = (*KEY, *AMOUNTS, *COUNTS)


@dataclass(frozen=True)
class Revenue:
    """A week's revenue.

    Attributes:
        cells: one row for each revenue type and region: net amounts in base currency, tax and counts.
        totals: the sums of the amounts over all cells.
        documents: how many documents the cells contain.
        by_account: the net revenue by account, by its id or else its code; `""` for lines that name neither.
        differences: where a document's totals and its lines disagree.
        notes: about configured tracking categories that no line has.
    """

    cells: pd.DataFrame
    totals: dict[str, Decimal]
    documents: int = 0
    by_account: Mapping[str, Decimal] = field(default_factory=dict)
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class RevenueLine:
    """One line of a document.

    Attributes:
        account: the id of its account, or else its code; an empty text where it names neither.
        net: without tax, in base currency, rounded to the cent.
        tax: in base currency, rounded to the cent.
        number: its place in the document, from 1.
        document_net: without tax, in the document's currency.
    """

    cell: tuple[str, str]
    account: str
    net: Decimal
    tax: Decimal
    number: int
    document_net: Decimal
    account_code: str | None = None
    item_code: str | None = None


@dataclass(frozen=True, slots=True)
class DocumentRevenue:
    """What one document adds to revenue.

    Attributes:
        day: its date; its week is the week of revenue.
        counts: whether it counts at all; without that it has no lines.
        differences: where its totals and its lines disagree.
        categories: the names of the tracking categories that its lines have.
        heading: what people know it by; `None` where it does not count.
    """

    key: str
    name: str
    day: date
    is_sale: bool
    is_credit: bool
    counts: bool
    lines: Sequence[RevenueLine] = ()
    differences: Sequence[Difference] = ()
    categories: frozenset[str] = frozenset()
    heading: DocumentHeading | None = None


def reduce_document(document: Document, *, base_currency: str, tracking: tuple[str, str]) -> DocumentRevenue:
    """Read what one document adds to revenue.

    Args:
        tracking: the names of the tracking categories for the revenue type and the region.

    Raises:
        PayloadNotUnderstood: its type or status is unknown, or it counts and cannot be read.
    """
    counts = is_counted(document)
    sale = is_sale(document)
    lines: list[RevenueLine] = []
    differences: list[Difference] = []
    heading = None
    # The date of a bill does not matter, so it need not be readable.
    day = read_document_date(document) if sale else date.min
    if counts:
        rate = _read_rate(document, base_currency)
        lines = list(_read_lines(document, rate, tracking, differences))
        heading = read_document_heading(document, currency=_read_currency(document, base_currency), rate=rate)
    return DocumentRevenue(
        key=get_document_key(document),
        name=get_document_name(document),
        day=day,
        is_sale=sale,
        is_credit=is_credit_note(document),
        counts=counts,
        lines=lines,
        differences=differences,
        categories=frozenset(_list_categories(document)) if counts else frozenset(),
        heading=heading,
    )


def read_revenue(
    invoices: Sequence[Document],
    credit_notes: Sequence[Document],
    *,
    week: Period,
    base_currency: str,
    revenue_tracking: str,
    region_tracking: str,
) -> Revenue:
    """Compute the week's revenue by type and region.

    Raises:
        WrongPeriod: a document lies outside the week, because Xero ignored the requested dates.
        PayloadNotUnderstood: a document that counts cannot be read.
    """
    tracking = (revenue_tracking, region_tracking)
    reduced = (
        reduce_document(document, base_currency=base_currency, tracking=tracking)
        for document in _keep_newest([*invoices, *credit_notes])
    )
    return add_up_revenue(reduced, week=week, tracking=tracking)


def add_up_revenue(documents: Iterable[DocumentRevenue], *, week: Period, tracking: tuple[str, str]) -> Revenue:
    """Add up a week's documents, each once, by revenue type and region.

    Raises:
        WrongPeriod: a document lies outside the week.
    """
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    differences: list[Difference] = []
    counted = 0
    categories: set[str] = set()
    by_account: dict[str, Decimal] = {}
    for document in documents:
        if document.is_sale:
            require_week(document, week)
        if not document.counts:
            continue
        counted += 1
        differences += document.differences
        categories |= document.categories
        for line in document.lines:
            cell = cells.setdefault(line.cell, dict.fromkeys(AMOUNTS, ZERO) | dict.fromkeys(COUNTS, 0))
            net, tax = (-line.net, -line.tax) if document.is_credit else (line.net, line.tax)
            cell["credited" if document.is_credit else "invoiced"] += line.net
            cell["net_revenue"] += net
            cell["tax"] += tax
            by_account[line.account] = by_account.get(line.account, ZERO) + net
        for cell_key in {line.cell for line in document.lines}:
            cells[cell_key]["credit_note_count" if document.is_credit else "invoice_count"] += 1
    rows = [
        {"revenue_type": revenue_type, "region": region, **cells[revenue_type, region]}
        for revenue_type, region in sorted(cells)
    ]
    totals = {name: sum((row[name] for row in rows), ZERO) for name in AMOUNTS}
    frame = pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)
    return Revenue(frame, totals, counted, by_account, differences, _note_missing_categories(tracking, categories))


def require_week(document: DocumentRevenue, week: Period) -> None:
    """Check that a document is of the requested week.

    Raises:
        WrongPeriod: it is not.
    """
    if document.day not in week:
        raise WrongPeriod(
            f"Xero answered with {document.name} of {document.day}, outside of the requested week from "
            f"{week.start} to {week.ending}."
        )


def _keep_newest(documents: Iterable[Document]) -> list[Document]:
    """Return each document once, in its latest state if it was on two pages."""
    newest: dict[str, Document] = {}
    for document in documents:
        known = newest.get(get_document_key(document))
        if known is None or (read_updated_at(document) or _LONG_AGO) >= (read_updated_at(known) or _LONG_AGO):
            newest[get_document_key(document)] = document
    return list(newest.values())


def _list_categories(document: Document) -> set[str]:
    """Return the names of the tracking categories that the document's lines have."""
    return {
        str(category.get("Name") or "").strip()
        for row in document.get("LineItems") or []
        for category in _read_tracking(document, row)
    }


def _note_missing_categories(tracking: tuple[str, str], categories: set[str]) -> list[str]:
    """Note each configured category that no line has although lines have others: its name in Xero is likely another."""
    present = {normalise_name(name) for name in categories}
    others = sorted(name for name in categories if name and normalise_name(name) not in map(normalise_name, tracking))
    return [
        f"No line has the tracking category {name!r}, so all is {UNALLOCATED} in {column}; the lines have "
        f"{', '.join(map(repr, others))}. {setting} says which one is meant."
        for name, column, setting in zip(tracking, KEY, ("XERO_REVENUE_TRACKING", "XERO_REGION_TRACKING"), strict=True)
        if others and normalise_name(name) not in present
    ]


def _read_lines(
    document: Document, rate: Decimal, tracking: tuple[str, str], differences: list[Difference]
) -> Iterator[RevenueLine]:
    """Yield the document's lines in base currency.

    Where the lines do not add up to the document's totals, in its own currency, append to `differences`.
    """
    rows = document.get("LineItems") or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise PayloadNotUnderstood(f"{get_document_name(document)} has LineItems that are not a list of lines.")
    amounts = [_read_line_amounts(document, row) for row in rows]
    # Each line is rounded to the cent before it is added, because it is stored to the cent.
    net = sum((to_cents(line_net) for line_net, _ in amounts), ZERO)
    tax = sum((to_cents(line_tax) for _, line_tax in amounts), ZERO)
    stated_net, stated_tax = _read_stated_totals(document, tax)
    number = get_document_name(document)
    if stated_net is not None and to_cents(stated_net) != to_cents(net):
        what = "without its lines" if not rows else "lines without tax"
        differences.append(Difference(f"{number}, {what}", to_cents(stated_net), to_cents(net)))
    if stated_tax is not None and to_cents(stated_tax) != to_cents(tax):
        differences.append(Difference(f"{number}, tax", to_cents(stated_tax), to_cents(tax)))
    for place, (row, (line_net, line_tax)) in enumerate(zip(rows, amounts, strict=True), start=1):
        if line_net or line_tax or not _is_description(document, row):
            yield RevenueLine(
                cell=_find_cell(document, row, tracking),
                account=_find_account(row),
                net=_convert_to_base(document, line_net, rate),
                tax=_convert_to_base(document, line_tax, rate),
                number=place,
                document_net=to_cents(line_net),
                account_code=read_text(row, "AccountCode"),
                item_code=read_text(row, "ItemCode"),
            )
    if rows:
        return
    if stated_net is None:
        raise PayloadNotUnderstood(f"{number} has neither lines nor a SubTotal.")
    if stated_net or stated_tax:
        # Without lines, the document's type and region are unknown, but its amount still counts.
        net, tax = _convert_to_base(document, stated_net, rate), _convert_to_base(document, stated_tax or ZERO, rate)
        yield RevenueLine((UNALLOCATED, UNALLOCATED), "", net, tax, 1, to_cents(stated_net))


def _read_stated_totals(document: Document, tax: Decimal) -> tuple[Decimal | None, Decimal | None]:
    """Read the total without tax and the tax that the document states; `None` for one that it does not state."""
    stated_net, stated_tax = read_amount(document, document, "SubTotal"), read_amount(document, document, "TotalTax")
    total = read_amount(document, document, "Total")
    if stated_net is None and total is not None:
        stated_net = total - (tax if stated_tax is None else stated_tax)
    return stated_net, stated_tax


def _is_description(document: Document, row: Mapping[str, Any]) -> bool:
    """Return whether a line without money is only a description, which belongs to no cell."""
    is_assigned = any(row.get(name) for name in ("AccountCode", "AccountID", "ItemCode", "Tracking"))
    return not is_assigned and not read_amount(document, row, "UnitAmount")


def _read_line_amounts(document: Document, row: Mapping[str, Any]) -> tuple[Decimal, Decimal]:
    """Read a line's net amount and tax, in the document's currency."""
    amount, tax = read_amount(document, row, "LineAmount"), read_amount(document, row, "TaxAmount") or ZERO
    if amount is None:
        # A line without a price is only a description.
        price, quantity = read_amount(document, row, "UnitAmount"), read_amount(document, row, "Quantity")
        if (price or ZERO) * (quantity or Decimal(1)):
            raise PayloadNotUnderstood(f"{get_document_name(document)} has a line without a LineAmount.")
        amount = ZERO
    amount_types = read_keyword(document, "LineAmountTypes", {"EXCLUSIVE", "INCLUSIVE", "NOTAX"})
    if amount_types == "INCLUSIVE":
        return amount - tax, tax
    return amount, ZERO if amount_types == "NOTAX" else tax


def _read_currency(document: Document, base_currency: str) -> str:
    return str(document.get("CurrencyCode") or base_currency).upper()


def _read_rate(document: Document, base_currency: str) -> Decimal:
    """Read how many units of the document's currency one unit of the base currency is worth.

    Raises:
        PayloadNotUnderstood: a foreign document has no rate, or the rate is impossible.
    """
    rate = read_amount(document, document, "CurrencyRate")
    currency = _read_currency(document, base_currency)
    number = get_document_name(document)
    if rate is not None and rate <= 0:
        raise PayloadNotUnderstood(f"{number} has a CurrencyRate that is not above zero.")
    if currency == base_currency.upper():
        if rate not in (None, 1):
            raise PayloadNotUnderstood(
                f"{number} is in {currency}, the base currency, with a CurrencyRate that is not 1."
            )
        return Decimal(1)
    if rate is None:
        raise PayloadNotUnderstood(f"{number} is in {currency} and has no CurrencyRate.")
    return rate


def _convert_to_base(document: Document, amount: Decimal, rate: Decimal) -> Decimal:
    """Convert a foreign amount into base currency: divide by the rate and round to the cent.

    All conversions are done here.
    """
    try:
        return to_cents(to_decimal(amount / rate))
    except ValueError:
        raise PayloadNotUnderstood(
            f"{get_document_name(document)} has a CurrencyRate of {rate}, which makes its amount too large to store."
        ) from None


def _find_account(row: Mapping[str, Any]) -> str:
    """Return the id of a line's account, or else its code; an empty text where the line names neither."""
    return normalise_id(str(row.get("AccountID") or "")) or str(row.get("AccountCode") or "").strip()


def _find_cell(document: Document, row: Mapping[str, Any], tracking: tuple[str, str]) -> tuple[str, str]:
    options = {
        normalise_name(category.get("Name")): normalise_name(category.get("Option"))
        for category in _read_tracking(document, row)
    }
    revenue_type, region = (options.get(normalise_name(name)) or UNALLOCATED for name in tracking)
    return revenue_type, region


def _read_tracking(document: Document, row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    categories = row.get("Tracking") or []
    if not isinstance(categories, list) or not all(isinstance(category, dict) for category in categories):
        raise PayloadNotUnderstood(f"{get_document_name(document)} has a Tracking that is not a list.")
    for category in categories:
        for name in ("Name", "Option"):
            if not isinstance(category.get(name, ""), str | None):
                raise PayloadNotUnderstood(
                    f"{get_document_name(document)} has a line whose tracking {name} is not a text."
                )
    return categories
