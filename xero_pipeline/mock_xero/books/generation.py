"""How a week's documents come about: sales, bills and credit notes, made up from the week's own dice.

Pure: the same organisation and week give the same documents, in every process. What is not a document
(wages, rent, interest …) is made in `entries.py`.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.documents import Document, DocumentKind, DocumentLine, DocumentStatus, TaxTreatment
from xero_pipeline.mock_xero.books.identifiers import document_id, document_number
from xero_pipeline.mock_xero.books.seeded_random import SeededRandom
from xero_pipeline.mock_xero.organisations import MockOrganisation

# Sales of an ordinary week, in cents, and what the seasons make of them, per mille of it by month.
ORDINARY_SALES = 25_000_000
SEASONS = (880, 960, 1060, 990, 1040, 1090, 960, 980, 1020, 1050, 1070, 910)

# The longest that anybody takes to pay, in days.
LONGEST_TO_PAY = 55

_WEEKDAYS = (0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6)
# What one unit is worth in US dollars, in thousandths.
_WORTH = {"AUD": 655, "NZD": 600, "GBP": 1270, "EUR": 1080, "USD": 1000, "SGD": 742, "CAD": 730}

_FIRST = ("Acacia", "Bayside", "Banksia", "Coral", "Harbour", "Highland", "Jarrah", "Kestrel", "Lorikeet", "Murray",
          "Ocean", "Ridgeline", "Southern", "Wattle", "Waratah")  # fmt: skip
_SECOND = ("Builders", "Dental", "Electrical", "Estates", "Holdings", "Homes", "Joinery", "Properties", "Schools")
SUPPLIERS = ("Allied Timber", "Bright Media", "City Fuel", "Delta Concrete", "Eastern Steel", "Fixings Direct",
             "Metro Labour Hire", "Office Depot", "Skyline Roofing", "Telco One", "Trade Tools",
             "Voltage Supplies")  # fmt: skip
_WORKS = ("Consulting and design", "Installation", "Materials and fitting", "Maintenance visit", "Progress claim",
          "Repair and call-out", "Site inspection", "Supply of equipment")  # fmt: skip
_GOODS = {
    chart.MATERIALS: 46,
    chart.SUBCONTRACTORS: 34,
    "400": 5,
    "429": 4,
    "449": 4,
    "453": 4,
    "485": 2,
    "489": 1,
}


@dataclass(frozen=True, slots=True)
class Seasonality:
    """A week to fill: its dice, its days, and its sales."""

    organisation: MockOrganisation
    number: int
    start: dt.date
    zone: dt.tzinfo

    @property
    def sales(self) -> int:
        """The sales that the week aims at, without tax, in cents of the base currency."""
        noise = SeededRandom(self.organisation.books_seed, self.number, "sales").between(-40, 40)
        return ORDINARY_SALES * SEASONS[self.start.month - 1] * (1000 + noise) // 1_000_000

    def dice(self, what: str) -> SeededRandom:
        return SeededRandom(self.organisation.books_seed, self.number, what)


def documents_of(season: Seasonality) -> tuple[Document, ...]:
    """Every document of the week, whatever its kind and status, in order of date and number."""
    maker = _DocumentGenerator(season)
    maker.sell()
    maker.buy()
    return tuple(sorted(maker.made, key=lambda document: (document.date, document.number)))


class _DocumentGenerator:
    def __init__(self, season: Seasonality) -> None:
        self.season = season
        self.made: list[Document] = []
        self._dice = season.dice("documents")
        self._percent = chart.tax_percent(season.organisation)

    def sell(self) -> None:
        """Sales invoices that make up the week's sales, credit notes, and what never became a sale."""
        dice = self._dice
        usual = self.season.organisation.documents
        invoices = dice.between(usual * 3 // 4, usual * 5 // 4)
        weights = [dice.between(20, 180) for _ in range(invoices)]
        whole = self.season.sales * 102 // 100
        total = sum(weights)
        for weight in weights:
            self._sale(DocumentKind.SALE, whole * weight // total, DocumentStatus.AUTHORISED)
        for status in (
            DocumentStatus.DRAFT,
            DocumentStatus.DRAFT,
            DocumentStatus.SUBMITTED,
            DocumentStatus.VOIDED,
            DocumentStatus.VOIDED,
            DocumentStatus.DELETED,
        ):
            if dice.percent(60):
                self._sale(DocumentKind.SALE, dice.between(30_000, 900_000), status)
        for _ in range(dice.between(2, 5)):
            self._sale(DocumentKind.SALE_CREDIT, dice.between(15_000, 260_000), DocumentStatus.AUTHORISED)
        for status in (DocumentStatus.DRAFT, DocumentStatus.VOIDED, DocumentStatus.DELETED):
            if dice.percent(30):
                self._sale(DocumentKind.SALE_CREDIT, dice.between(15_000, 260_000), status)

    def buy(self) -> None:
        """Bills for about a fifth of the sales, and what suppliers credit."""
        dice = self._dice
        bills = dice.between(9, 14)
        for _ in range(bills):
            self._purchase(DocumentKind.BILL, self.season.sales * 21 // 100 // bills, DocumentStatus.AUTHORISED)
        for status in (DocumentStatus.DRAFT, DocumentStatus.VOIDED):
            if dice.percent(40):
                self._purchase(DocumentKind.BILL, dice.between(20_000, 300_000), status)
        if dice.percent(35):
            self._purchase(DocumentKind.BILL_CREDIT, dice.between(10_000, 90_000), DocumentStatus.AUTHORISED)

    def _sale(self, kind: DocumentKind, net: int, status: DocumentStatus) -> None:
        dice = self._dice
        throw = dice.below(100)
        currency, rate, tax = self.season.organisation.base_currency, None, TaxTreatment.EXCLUSIVE
        if throw < 5:
            currency = dice.pick([name for name in _WORTH if name != currency])
            rate = self._rate(currency)
            net = int(net * rate)
        elif throw < 30:
            tax = TaxTreatment.INCLUSIVE
        elif throw < 37:
            tax = TaxTreatment.NONE
        taxed = tax is not TaxTreatment.NONE and rate is None
        lines = self._sale_lines(net, tax, taxed=taxed, discounted=kind is DocumentKind.SALE and dice.percent(7))
        days = dice.between(1, LONGEST_TO_PAY) if dice.percent(93) else None
        self._add(kind, status, tax, currency, rate, f"{dice.pick(_FIRST)} {dice.pick(_SECOND)}", lines, days)

    def _sale_lines(self, net: int, tax: TaxTreatment, *, taxed: bool, discounted: bool) -> tuple[DocumentLine, ...]:
        dice = self._dice
        revenue_type = self._revenue_type()
        region = dice.pick(chart.REGIONS)
        lines = []
        for share in _shares(dice, net, dice.pick((1, 1, 1, 2, 2, 3))):
            mixed = dice.percent(12)
            kind = self._revenue_type() if mixed else revenue_type
            place = dice.pick(chart.REGIONS) if mixed else region
            lines.append(self._tracked_line(share, tax, taxed, kind, place))
        if discounted:
            account, percent = chart.DISCOUNTS, dice.between(2, 8)
            discount = -(net * percent // 100)
            tracked = dice.percent(70)
            kind_given, place_given = (revenue_type, region) if tracked else (None, None)
            lines.append(self._line(discount, tax, taxed, account, kind_given, place_given, "Discount"))
        return tuple(lines)

    def _tracked_line(self, net: int, tax: TaxTreatment, taxed: bool, revenue_type: str, region: str) -> DocumentLine:
        """One line of a sale; now and then somebody forgot one tracking category, or both."""
        throw = self._dice.below(100)
        kind: str | None = revenue_type
        place: str | None = region
        account = chart.OTHER_REVENUE
        if throw < 4:
            kind = place = None
        elif throw < 6:
            kind = None
        else:
            if throw < 8:
                place = None
            account = _INCOME_ACCOUNTS[revenue_type]
        return self._line(net, tax, taxed, account, kind, place, self._dice.pick(_WORKS))

    def _line(
        self,
        net: int,
        tax: TaxTreatment,
        taxed: bool,
        account: str,
        revenue_type: str | None,
        region: str | None,
        description: str,
    ) -> DocumentLine:
        amount, due = net, 0
        if taxed and tax is TaxTreatment.INCLUSIVE:
            amount = net + chart.tax_on(net, self._percent)
            due = chart.tax_in(amount, self._percent)
        elif taxed:
            due = chart.tax_on(net, self._percent)
        quantity = self._dice.pick((1, 1, 1, 2, 4, 5))
        if amount % quantity:
            quantity = 1
        return DocumentLine(amount, due, account, revenue_type, region, description, quantity)

    def _purchase(self, kind: DocumentKind, ordinary: int, status: DocumentStatus) -> None:
        dice = self._dice
        net = ordinary * dice.between(60, 140) // 100
        throw, account = dice.below(sum(_GOODS.values())), chart.MATERIALS
        for code, weight in _GOODS.items():
            if throw < weight:
                account = code
                break
            throw -= weight
        tax = dice.pick(
            (
                TaxTreatment.EXCLUSIVE,
                TaxTreatment.EXCLUSIVE,
                TaxTreatment.EXCLUSIVE,
                TaxTreatment.INCLUSIVE,
                TaxTreatment.NONE,
            )
        )
        lines = tuple(
            self._line(share, tax, tax is not TaxTreatment.NONE, account, None, None, "Goods and services")
            for share in _shares(dice, net, dice.pick((1, 1, 2)))
        )
        currency = self.season.organisation.base_currency
        self._add(kind, status, tax, currency, None, dice.pick(SUPPLIERS), lines, dice.between(7, 35))

    def _add(
        self,
        kind: DocumentKind,
        status: DocumentStatus,
        tax: TaxTreatment,
        currency: str,
        rate: Decimal | None,
        contact: str,
        lines: tuple[DocumentLine, ...],
        days_to_pay: int | None,
    ) -> None:
        dice = self._dice
        season = self.season
        position = len(self.made)
        day = season.start + dt.timedelta(days=dice.pick(_WEEKDAYS))
        minute = dice.between(8 * 60, 17 * 60)
        written = dt.datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=season.zone)
        moment = written.astimezone(dt.UTC)
        paid = None
        if days_to_pay is not None and status is DocumentStatus.AUTHORISED:
            paid = day + dt.timedelta(days=days_to_pay)
        self.made.append(
            Document(
                kind=kind,
                id=document_id(season.organisation.books_seed, season.number, position),
                number=document_number(_NUMBERS[kind], season.number, position),
                date=day,
                due=day + dt.timedelta(days=dice.pick((7, 14, 30))),
                status=status,
                tax=tax,
                currency=currency,
                rate=rate,
                contact=contact,
                lines=lines,
                created_at=moment,
                updated_at=moment,
                paid_on=paid,
            )
        )

    def _rate(self, currency: str) -> Decimal:
        """Units of the document's currency for one of the base, six decimals, a little other each week."""
        base = _WORTH.get(self.season.organisation.base_currency, 1000)
        noise = self.season.dice(f"rate {currency}").between(-60_000, 60_000)
        millionths = base * (1_000_000 + noise) // _WORTH[currency]
        return Decimal(millionths).scaleb(-6)

    def _revenue_type(self) -> str:
        return self._dice.pick(_TYPES)


_TYPES = (
    *("Residential",) * 11,
    *("Commercial",) * 7,
    *("Retrospective",) * 2,
)
_INCOME_ACCOUNTS = {
    "Residential": chart.RESIDENTIAL,
    "Commercial": chart.COMMERCIAL,
    "Retrospective": chart.RETROSPECTIVE,
}
_NUMBERS = {
    DocumentKind.SALE: "INV",
    DocumentKind.BILL: "BILL",
    DocumentKind.SALE_CREDIT: "CN",
    DocumentKind.BILL_CREDIT: "BCN",
}


def _shares(dice: SeededRandom, whole: int, parts: int) -> list[int]:
    """The whole, cut into so many parts of about the same size."""
    shares = []
    for left in range(parts, 1, -1):
        share = whole // left * dice.between(60, 140) // 100
        shares.append(share)
        whole -= share
    return [*shares, whole]
