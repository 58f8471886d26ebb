"""Reads invoices and credit notes, and computes the week's revenue from their lines. Pure: JSON in, a frame out.

Source: Xero's `Invoices` and `CreditNotes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd

from xero_pipeline.identifiers import normalise_id
from xero_pipeline.money import ZERO, to_cents, to_decimal
from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import PayloadNotUnderstood, WrongPeriod
from xero_pipeline.xero.readers.reports import Difference, describe_format

Document = Mapping[str, Any]

UNALLOCATED = "unallocated"
AMOUNTS = ("invoiced", "credited", "net_revenue", "tax")
KEY, COUNTS = ("revenue_type", "region"), ("invoice_count", "credit_note_count")
COLUMNS = (*KEY, *AMOUNTS, *COUNTS)

_TYPES = {
    "ACCREC", "ACCPAY", "ACCRECCREDIT", "ACCPAYCREDIT",
    "ARPREPAYMENT", "APPREPAYMENT", "AROVERPAYMENT", "APOVERPAYMENT",
}  # fmt: skip
_SALES = {"ACCREC", "ACCRECCREDIT"}
_COUNTED = {"AUTHORISED", "PAID"}
_STATUSES = _COUNTED | {"DRAFT", "SUBMITTED", "VOIDED", "DELETED"}
_JSON_DATE = re.compile(r"/Date\((-?\d{1,15})([+-]\d{4})?\)/")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


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


@dataclass(frozen=True)
class _Line:
    """One line in base currency, without tax."""

    cell: tuple[str, str]
    account: str
    net: Decimal
    tax: Decimal


def get_document_key(document: Document) -> str:
    """Return the document's id in its one spelling. No edit changes it."""
    for name in ("InvoiceID", "CreditNoteID"):
        if document.get(name):
            return normalise_id(str(document[name]))
    raise PayloadNotUnderstood("A document has neither InvoiceID nor CreditNoteID.")


def get_document_name(document: Document) -> str:
    """Return the document's number, by which people know it, or else its id."""
    return str(document.get("InvoiceNumber") or document.get("CreditNoteNumber") or get_document_key(document))


def read_document_date(document: Document) -> date:
    """Read the document's calendar date. Xero writes it as midnight without a time zone, so no zone shifts it.

    Raises:
        PayloadNotUnderstood: there is no date, or `Date` and `DateString` disagree.
    """
    dates = set()
    if document.get("DateString"):
        dates.add(_parse_iso_date(str(document["DateString"]), document))
    if document.get("Date"):
        text = str(document["Date"])
        is_json_date = text.startswith("/Date(")
        dates.add(_parse_json_date(text, document).date() if is_json_date else _parse_iso_date(text, document))
    if len(dates) != 1:
        problem = "two different dates" if dates else "no date"
        raise PayloadNotUnderstood(f"{get_document_name(document)} has {problem}.")
    return dates.pop()


def read_updated_at(document: Document) -> datetime | None:
    """Read when the document was last changed, in UTC; `None` if Xero does not say."""
    if not document.get("UpdatedDateUTC"):
        return None
    text = str(document["UpdatedDateUTC"])
    if text.startswith("/Date("):
        return _parse_json_date(text, document)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise PayloadNotUnderstood(
            f"{get_document_name(document)} has an UpdatedDateUTC that is not a date and time."
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def is_counted(document: Document) -> bool:
    """Return whether the document is revenue: a sales invoice or a customer's credit note, authorised or paid.

    Raises:
        PayloadNotUnderstood: its type or status is unknown.
    """
    return (
        _read_keyword(document, "Type", _TYPES) in _SALES and _read_keyword(document, "Status", _STATUSES) in _COUNTED
    )


def can_affect_reports(document: Document) -> bool:
    """Return whether the document is or was in Xero's figures: a draft never was, a voided one may have been."""
    return _read_keyword(document, "Status", _STATUSES) not in {"DRAFT", "SUBMITTED"}


def read_revenue(
    invoices: Sequence[Document],
    credit_notes: Sequence[Document],
    *,
    week: Week,
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
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    differences: list[Difference] = []
    counted, categories = 0, set()
    by_account: dict[str, Decimal] = {}
    for document in _keep_newest([*invoices, *credit_notes]):
        counts = is_counted(document)
        if _read_keyword(document, "Type", _TYPES) in _SALES:
            _require_week(document, week)
        if not counts:
            continue
        counted += 1
        is_credit = _read_keyword(document, "Type", _TYPES) == "ACCRECCREDIT"
        lines = list(_read_lines(document, base_currency, tracking, differences))
        categories |= _list_categories(document)
        for line in lines:
            cell = cells.setdefault(line.cell, dict.fromkeys(AMOUNTS, ZERO) | dict.fromkeys(COUNTS, 0))
            cell["credited" if is_credit else "invoiced"] += line.net
            cell["net_revenue"] += -line.net if is_credit else line.net
            by_account[line.account] = by_account.get(line.account, ZERO) + (-line.net if is_credit else line.net)
            cell["tax"] += -line.tax if is_credit else line.tax
        for cell_key in {line.cell for line in lines}:
            cells[cell_key]["credit_note_count" if is_credit else "invoice_count"] += 1
    rows = [
        {"revenue_type": revenue_type, "region": region, **cells[revenue_type, region]}
        for revenue_type, region in sorted(cells)
    ]
    totals = {name: sum((row[name] for row in rows), ZERO) for name in AMOUNTS}
    frame = pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)
    return Revenue(frame, totals, counted, by_account, differences, _note_missing_categories(tracking, categories))


def _list_categories(document: Document) -> set[str]:
    """Return the names of the tracking categories that the document's lines have."""
    return {
        str(category.get("Name") or "").strip()
        for row in document.get("LineItems") or []
        for category in _read_tracking(document, row)
    }


def _note_missing_categories(tracking: tuple[str, str], categories: set[str]) -> list[str]:
    """Note each configured category that no line has although lines have others: its name in Xero is likely another."""
    present = {_normalise(name) for name in categories}
    others = sorted(name for name in categories if name and _normalise(name) not in map(_normalise, tracking))
    return [
        f"No line has the tracking category {name!r}, so all is {UNALLOCATED} in {column}; the lines have "
        f"{', '.join(map(repr, others))}. {setting} says which one is meant."
        for name, column, setting in zip(tracking, KEY, ("XERO_REVENUE_TRACKING", "XERO_REGION_TRACKING"), strict=True)
        if others and _normalise(name) not in present
    ]


def _keep_newest(documents: Iterable[Document]) -> list[Document]:
    """Return each document once, in its latest state if it was on two pages."""
    newest: dict[str, Document] = {}
    for document in documents:
        known = newest.get(get_document_key(document))
        if known is None or (read_updated_at(document) or _EPOCH) >= (read_updated_at(known) or _EPOCH):
            newest[get_document_key(document)] = document
    return list(newest.values())


def _require_week(document: Document, week: Week) -> None:
    day = read_document_date(document)
    if day not in week:
        raise WrongPeriod(
            f"Xero answered with {get_document_name(document)} of {day}, outside of the requested week from "
            f"{week.start} to {week.ending}."
        )


def _read_lines(
    document: Document, base_currency: str, tracking: tuple[str, str], differences: list[Difference]
) -> Iterator[_Line]:
    """Yield the document's lines in base currency.

    Where the lines do not add up to the document's totals, in its own currency, append to `differences`.
    """
    rate = _read_rate(document, base_currency)
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
    for row, (line_net, line_tax) in zip(rows, amounts, strict=True):
        if line_net or line_tax or not _is_description(document, row):
            net, tax = _convert_to_base(document, line_net, rate), _convert_to_base(document, line_tax, rate)
            yield _Line(_find_cell(document, row, tracking), _find_account(row), net, tax)
    if rows:
        return
    if stated_net is None:
        raise PayloadNotUnderstood(f"{number} has neither lines nor a SubTotal.")
    if stated_net or stated_tax:
        # Without lines, the document's type and region are unknown, but its amount still counts.
        net, tax = _convert_to_base(document, stated_net, rate), _convert_to_base(document, stated_tax or ZERO, rate)
        yield _Line((UNALLOCATED, UNALLOCATED), "", net, tax)


def _read_stated_totals(document: Document, tax: Decimal) -> tuple[Decimal | None, Decimal | None]:
    """Read the total without tax and the tax that the document states; `None` for one that it does not state."""
    stated_net, stated_tax = _read_amount(document, document, "SubTotal"), _read_amount(document, document, "TotalTax")
    total = _read_amount(document, document, "Total")
    if stated_net is None and total is not None:
        stated_net = total - (tax if stated_tax is None else stated_tax)
    return stated_net, stated_tax


def _is_description(document: Document, row: Mapping[str, Any]) -> bool:
    """Return whether a line without money is only a description, which belongs to no cell."""
    is_assigned = any(row.get(name) for name in ("AccountCode", "AccountID", "ItemCode", "Tracking"))
    return not is_assigned and not _read_amount(document, row, "UnitAmount")


def _read_line_amounts(document: Document, row: Mapping[str, Any]) -> tuple[Decimal, Decimal]:
    """Read a line's net amount and tax, in the document's currency."""
    amount, tax = _read_amount(document, row, "LineAmount"), _read_amount(document, row, "TaxAmount") or ZERO
    if amount is None:
        # A line without a price is only a description.
        price, quantity = _read_amount(document, row, "UnitAmount"), _read_amount(document, row, "Quantity")
        if (price or ZERO) * (quantity or Decimal(1)):
            raise PayloadNotUnderstood(f"{get_document_name(document)} has a line without a LineAmount.")
        amount = ZERO
    amount_types = _read_keyword(document, "LineAmountTypes", {"EXCLUSIVE", "INCLUSIVE", "NOTAX"})
    if amount_types == "INCLUSIVE":
        return amount - tax, tax
    return amount, ZERO if amount_types == "NOTAX" else tax


def _read_rate(document: Document, base_currency: str) -> Decimal:
    """Read how many units of the document's currency one unit of the base currency is worth.

    Raises:
        PayloadNotUnderstood: a foreign document has no rate, or the rate is impossible.
    """
    rate = _read_amount(document, document, "CurrencyRate")
    currency = str(document.get("CurrencyCode") or base_currency).upper()
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
        _normalise(category.get("Name")): _normalise(category.get("Option"))
        for category in _read_tracking(document, row)
    }
    revenue_type, region = (options.get(_normalise(name)) or UNALLOCATED for name in tracking)
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


def _normalise(text: object) -> str:
    return str(text or "").strip().lower()


def _read_amount(document: Document, row: Mapping[str, Any], name: str) -> Decimal | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        return to_decimal(value)
    except ValueError:
        raise PayloadNotUnderstood(
            f"{get_document_name(document)} has a {name} that is not a plain decimal number{describe_format(value)}."
        ) from None


def _read_keyword(document: Document, name: str, known: set[str]) -> str:
    keyword = str(document.get(name) or "").strip().upper()
    if keyword not in known:
        raise PayloadNotUnderstood(f"{get_document_name(document)} has an unknown {name} {keyword[:40]!r}.")
    return keyword


def _parse_iso_date(text: str, document: Document) -> date:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise PayloadNotUnderstood(f"{get_document_name(document)} has a date that cannot be read.") from None


def _parse_json_date(text: str, document: Document) -> datetime:
    match = _JSON_DATE.fullmatch(text)
    if not match:
        raise PayloadNotUnderstood(f"{get_document_name(document)} has a date that cannot be read.")
    # The milliseconds are UTC; the offset is only that of the zone in which the document was shown.
    try:
        return _EPOCH + timedelta(milliseconds=int(match[1]))
    except OverflowError:
        raise PayloadNotUnderstood(f"{get_document_name(document)} has a date that cannot be read.") from None
