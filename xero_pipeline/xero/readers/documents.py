"""Invoices and credit notes: what each says of itself, and the week's revenue from their lines.

Pure: JSON in, a frame out. Source: Xero's `Invoices` and `CreditNotes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd

from xero_pipeline.money import ZERO, to_cents, to_decimal
from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import PayloadNotUnderstood, WrongPeriod
from xero_pipeline.xero.readers.reports import Difference, in_form

Document = Mapping[str, Any]

UNALLOCATED = "unallocated"
AMOUNTS = ("invoiced", "credited", "net_revenue", "tax")
COLUMNS = ("revenue_type", "region", *AMOUNTS, "invoice_count", "credit_note_count")

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
    """`cells`: revenue type × region with net amounts in base currency, tax and counts. `documents`: how many
    count in them. `notes`: what to say of tracking categories that were looked for in vain."""

    cells: pd.DataFrame
    totals: dict[str, Decimal]
    documents: int = 0
    differences: Sequence[Difference] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class _Line:
    """One line in base currency, without tax."""

    cell: tuple[str, str]
    net: Decimal
    tax: Decimal


def document_key(document: Document) -> str:
    """The id that stays whatever is edited."""
    for name in ("InvoiceID", "CreditNoteID"):
        if document.get(name):
            # A GUID, whose capitals mean nothing.
            return str(document[name]).lower()
    raise PayloadNotUnderstood("A document has neither InvoiceID nor CreditNoteID.")


def document_name(document: Document) -> str:
    """What people call it: its number, or else its id."""
    return str(document.get("InvoiceNumber") or document.get("CreditNoteNumber") or document_key(document))


def document_date(document: Document) -> date:
    """The calendar date: midnight without any zone, so nothing is shifted.

    Raises:
        PayloadNotUnderstood: there is none, or `Date` and `DateString` disagree.
    """
    found = set()
    if document.get("DateString"):
        found.add(_iso_day(str(document["DateString"]), document))
    if document.get("Date"):
        text = str(document["Date"])
        found.add(_moment(text, document).date() if text.startswith("/Date(") else _iso_day(text, document))
    if len(found) != 1:
        said = "two different dates" if found else "no date"
        raise PayloadNotUnderstood(f"{document_name(document)} has {said}.")
    return found.pop()


def updated_at(document: Document) -> datetime | None:
    """When it was last changed, true UTC; `None` where Xero does not say."""
    if not document.get("UpdatedDateUTC"):
        return None
    text = str(document["UpdatedDateUTC"])
    if text.startswith("/Date("):
        return _moment(text, document)
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise PayloadNotUnderstood(f"{document_name(document)} has an UpdatedDateUTC that is no moment.") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def is_counted(document: Document) -> bool:
    """Whether it is revenue: a sales invoice or a customer's credit note, authorised or paid.

    Raises:
        PayloadNotUnderstood: its type or status is unknown.
    """
    return _word(document, "Type", _TYPES) in _SALES and _word(document, "Status", _STATUSES) in _COUNTED


def reaches_reports(document: Document) -> bool:
    """Whether it is or was in Xero's figures: a draft never was, a voided one may have been."""
    return _word(document, "Status", _STATUSES) not in {"DRAFT", "SUBMITTED"}


def read_revenue(
    invoices: Sequence[Document],
    credit_notes: Sequence[Document],
    *,
    week: Week,
    base_currency: str,
    revenue_tracking: str,
    region_tracking: str,
) -> Revenue:
    """The week's revenue by type and region.

    Raises:
        WrongPeriod: a document lies outside the week: Xero has ignored the dates that were asked.
        PayloadNotUnderstood: a document that counts is not understood.
    """
    tracking = (revenue_tracking, region_tracking)
    cells: dict[tuple[str, str], dict[str, Any]] = {}
    differences: list[Difference] = []
    counted, categories = 0, set()
    for document in _newest([*invoices, *credit_notes]):
        counts = is_counted(document)
        if _word(document, "Type", _TYPES) in _SALES:
            _require_week(document, week)
        if not counts:
            continue
        counted += 1
        credit = _word(document, "Type", _TYPES) == "ACCRECCREDIT"
        lines = list(_lines(document, base_currency, tracking, differences))
        categories |= _categories(document)
        for line in lines:
            cell = cells.setdefault(line.cell, dict.fromkeys(AMOUNTS, ZERO) | dict.fromkeys(COLUMNS[-2:], 0))
            cell["credited" if credit else "invoiced"] += line.net
            cell["net_revenue"] += -line.net if credit else line.net
            cell["tax"] += -line.tax if credit else line.tax
        for touched in {line.cell for line in lines}:
            cells[touched]["credit_note_count" if credit else "invoice_count"] += 1
    rows = [{"revenue_type": t, "region": r, **cells[t, r]} for t, r in sorted(cells)]
    totals = {name: sum((row[name] for row in rows), ZERO) for name in AMOUNTS}
    frame = pd.DataFrame(rows, columns=list(COLUMNS), dtype=object)
    return Revenue(frame, totals, counted, differences, _not_found(tracking, categories))


def _categories(document: Document) -> set[str]:
    """The names of the tracking categories that its lines carry."""
    return {
        str(one.get("Name") or "").strip()
        for row in document.get("LineItems") or []
        for one in _tracking(document, row)
    }


def _not_found(tracking: tuple[str, str], categories: set[str]) -> list[str]:
    """A category that no line has, where lines have others: most likely it has another name in Xero."""
    plain = {_plain(name) for name in categories}
    others = sorted(name for name in categories if name and _plain(name) not in map(_plain, tracking))
    return [
        f"No line has the tracking category {name!r}, so all is {UNALLOCATED} in {column}; the lines have "
        f"{', '.join(map(repr, others))}. {setting} says which one is meant."
        for name, column, setting in zip(
            tracking, COLUMNS[:2], ("XERO_REVENUE_TRACKING", "XERO_REGION_TRACKING"), strict=True
        )
        if others and _plain(name) not in plain
    ]


def _newest(documents: Iterable[Document]) -> list[Document]:
    """Each document once: of one that a page brought twice, the state that was changed last."""
    found: dict[str, Document] = {}
    for document in documents:
        held = found.get(document_key(document))
        if held is None or (updated_at(document) or _EPOCH) >= (updated_at(held) or _EPOCH):
            found[document_key(document)] = document
    return list(found.values())


def _require_week(document: Document, week: Week) -> None:
    day = document_date(document)
    if day not in week:
        raise WrongPeriod(
            f"Xero answered {document_name(document)} of {day} where the documents of {week.start} to {week.ending} "
            "were asked."
        )


def _lines(
    document: Document, base_currency: str, tracking: tuple[str, str], differences: list[Difference]
) -> Iterator[_Line]:
    """The document's lines in base currency, held against its own totals in its own currency."""
    rate = _rate(document, base_currency)
    rows = document.get("LineItems") or []
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise PayloadNotUnderstood(f"{document_name(document)} has LineItems that are no list of lines.")
    amounts = [_line_amounts(document, row) for row in rows]
    # Each line by the cent, as it is kept.
    net, tax = sum((to_cents(one[0]) for one in amounts), ZERO), sum((to_cents(one[1]) for one in amounts), ZERO)
    stated_net, stated_tax = _stated(document, tax)
    number = document_name(document)
    if stated_net is not None and to_cents(stated_net) != to_cents(net):
        what = "without its lines" if not rows else "lines without tax"
        differences.append(Difference(f"{number}, {what}", to_cents(stated_net), to_cents(net)))
    if stated_tax is not None and to_cents(stated_tax) != to_cents(tax):
        differences.append(Difference(f"{number}, tax", to_cents(stated_tax), to_cents(tax)))
    for row, (line_net, line_tax) in zip(rows, amounts, strict=True):
        if line_net or line_tax or not _is_text(document, row):
            net, tax = _to_base(document, line_net, rate), _to_base(document, line_tax, rate)
            yield _Line(_cell(document, row, tracking), net, tax)
    if rows:
        return
    if stated_net is None:
        raise PayloadNotUnderstood(f"{number} has neither lines nor a SubTotal.")
    if stated_net or stated_tax:
        # It came without its lines, so nobody can say where it belongs; but its money is there.
        net, tax = _to_base(document, stated_net, rate), _to_base(document, stated_tax or ZERO, rate)
        yield _Line((UNALLOCATED, UNALLOCATED), net, tax)


def _stated(document: Document, tax: Decimal) -> tuple[Decimal | None, Decimal | None]:
    """What the document itself says it comes to, without tax, and its tax; `None` for what it does not say."""
    stated_net, stated_tax = _amount(document, document, "SubTotal"), _amount(document, document, "TotalTax")
    total = _amount(document, document, "Total")
    if stated_net is None and total is not None:
        stated_net = total - (tax if stated_tax is None else stated_tax)
    return stated_net, stated_tax


def _is_text(document: Document, row: Mapping[str, Any]) -> bool:
    """Whether a line without money is only a description, and so in no cell."""
    says = any(row.get(name) for name in ("AccountCode", "AccountID", "ItemCode", "Tracking"))
    return not says and not _amount(document, row, "UnitAmount")


def _line_amounts(document: Document, row: Mapping[str, Any]) -> tuple[Decimal, Decimal]:
    """A line's net amount and tax, in the document's currency."""
    amount, tax = _amount(document, row, "LineAmount"), _amount(document, row, "TaxAmount") or ZERO
    if amount is None:
        # A line that is only a description.
        if (_amount(document, row, "UnitAmount") or ZERO) * (_amount(document, row, "Quantity") or Decimal(1)):
            raise PayloadNotUnderstood(f"{document_name(document)} has a line without a LineAmount.")
        amount = ZERO
    kind = _word(document, "LineAmountTypes", {"EXCLUSIVE", "INCLUSIVE", "NOTAX"})
    if kind == "INCLUSIVE":
        return amount - tax, tax
    return amount, ZERO if kind == "NOTAX" else tax


def _rate(document: Document, base_currency: str) -> Decimal:
    """Units of the document's currency for one of the base currency.

    Raises:
        PayloadNotUnderstood: a foreign document without a rate, or a rate that cannot be.
    """
    rate = _amount(document, document, "CurrencyRate")
    currency = str(document.get("CurrencyCode") or base_currency).upper()
    number = document_name(document)
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


def _to_base(document: Document, amount: Decimal, rate: Decimal) -> Decimal:
    """The one place where a foreign amount becomes one in base currency: divided, rounded to the cent."""
    try:
        return to_cents(to_decimal(amount / rate))
    except ValueError:
        raise PayloadNotUnderstood(
            f"{document_name(document)} has a CurrencyRate of {rate}, by which it comes to more than any books hold."
        ) from None


def _cell(document: Document, row: Mapping[str, Any], tracking: tuple[str, str]) -> tuple[str, str]:
    options = {_plain(one.get("Name")): _plain(one.get("Option")) for one in _tracking(document, row)}
    revenue_type, region = (options.get(_plain(name)) or UNALLOCATED for name in tracking)
    return revenue_type, region


def _tracking(document: Document, row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    categories = row.get("Tracking") or []
    if not isinstance(categories, list) or not all(isinstance(one, dict) for one in categories):
        raise PayloadNotUnderstood(f"{document_name(document)} has a Tracking that is no list.")
    return categories


def _plain(text: object) -> str:
    return str(text or "").strip().lower()


def _amount(document: Document, row: Mapping[str, Any], name: str) -> Decimal | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        return to_decimal(value)
    except ValueError:
        raise PayloadNotUnderstood(
            f"{document_name(document)} has a {name} that is no plain decimal number{in_form(value)}."
        ) from None


def _word(document: Document, name: str, known: set[str]) -> str:
    word = str(document.get(name) or "").strip().upper()
    if word not in known:
        raise PayloadNotUnderstood(f"{document_name(document)} has an unknown {name} {word[:40]!r}.")
    return word


def _iso_day(text: str, document: Document) -> date:
    try:
        return date.fromisoformat(text[:10])
    except ValueError:
        raise PayloadNotUnderstood(f"{document_name(document)} has a date that is none.") from None


def _moment(text: str, document: Document) -> datetime:
    match = _JSON_DATE.fullmatch(text)
    if not match:
        raise PayloadNotUnderstood(f"{document_name(document)} has a date that is none.")
    # The offset only says in which zone somebody looked at it; the milliseconds are UTC.
    try:
        return _EPOCH + timedelta(milliseconds=int(match[1]))
    except OverflowError:
        raise PayloadNotUnderstood(f"{document_name(document)} has a date that is none.") from None
