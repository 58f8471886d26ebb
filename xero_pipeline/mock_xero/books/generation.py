"""Generates a week's documents (sales, bills and credit notes) from random numbers that the week seeds.

Pure: the same organisation and week give the same documents in every process. `entries.py` generates what is
not a document (wages, rent, interest …).
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.documents import Document, DocumentKind, DocumentLine, DocumentStatus, TaxTreatment
from xero_pipeline.mock_xero.books.identifiers import make_document_id, make_document_number
from xero_pipeline.mock_xero.books.seeded_random import SeededRandom
from xero_pipeline.mock_xero.organisations import MockOrganisation

# An average week's sales in cents, and the seasonal factor of each month in per mille.
AVERAGE_SALES = 25_000_000
SEASONS = (880, 960, 1060, 990, 1040, 1090, 960, 980, 1020, 1050, 1070, 910)

# The most days until a document is paid.
MAX_DAYS_TO_PAY = 55

_WEEKDAYS = (0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6)
# The value of one unit in thousandths of a US dollar.
_US_DOLLAR_VALUES = {"AUD": 655, "NZD": 600, "GBP": 1270, "EUR": 1080, "USD": 1000, "SGD": 742, "CAD": 730}

_FIRST_NAMES = ("Acacia", "Bayside", "Banksia", "Coral", "Harbour", "Highland", "Jarrah", "Kestrel", "Lorikeet",
                "Murray", "Ocean", "Ridgeline", "Southern", "Wattle", "Waratah")  # fmt: skip
_SECOND_NAMES = ("Builders", "Dental", "Electrical", "Estates", "Holdings", "Homes", "Joinery", "Properties", "Schools")
SUPPLIERS = ("Allied Timber", "Bright Media", "City Fuel", "Delta Concrete", "Eastern Steel", "Fixings Direct",
             "Metro Labour Hire", "Office Depot", "Skyline Roofing", "Telco One", "Trade Tools",
             "Voltage Supplies")  # fmt: skip
_SALE_DESCRIPTIONS = ("Consulting and design", "Installation", "Materials and fitting", "Maintenance visit",
                      "Progress claim", "Repair and call-out", "Site inspection", "Supply of equipment")  # fmt: skip
_PURCHASE_ACCOUNTS = {
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
    """One week of one organisation: its random numbers, its first day, and its target sales for the season."""

    organisation: MockOrganisation
    number: int
    start: dt.date
    zone: dt.tzinfo

    @property
    def sales(self) -> int:
        """The week's target sales without tax, in cents of the base currency."""
        noise = SeededRandom(self.organisation.books_seed, self.number, "sales").draw_between(-40, 40)
        return AVERAGE_SALES * SEASONS[self.start.month - 1] * (1000 + noise) // 1_000_000

    def make_random(self, purpose: str) -> SeededRandom:
        return SeededRandom(self.organisation.books_seed, self.number, purpose)


def generate_documents(season: Seasonality) -> tuple[Document, ...]:
    """Every document of the week, of any kind and status, sorted by date and number."""
    generator = _DocumentGenerator(season)
    generator.add_sales()
    generator.add_purchases()
    return tuple(sorted(generator.documents, key=lambda document: (document.date, document.number)))


class _DocumentGenerator:
    def __init__(self, season: Seasonality) -> None:
        self.season = season
        self.documents: list[Document] = []
        self._random = season.make_random("documents")
        self._percent = chart.get_tax_percent(season.organisation)

    def add_sales(self) -> None:
        """Add the invoices that make up the week's sales, credit notes, and documents that do not count."""
        random = self._random
        average = self.season.organisation.documents
        invoices = random.draw_between(average * 3 // 4, average * 5 // 4)
        weights = [random.draw_between(20, 180) for _ in range(invoices)]
        total_net = self.season.sales * 102 // 100
        total_weight = sum(weights)
        for weight in weights:
            self._add_sale(DocumentKind.SALE, total_net * weight // total_weight, DocumentStatus.AUTHORISED)
        for status in (
            DocumentStatus.DRAFT,
            DocumentStatus.DRAFT,
            DocumentStatus.SUBMITTED,
            DocumentStatus.VOIDED,
            DocumentStatus.VOIDED,
            DocumentStatus.DELETED,
        ):
            if random.has_chance(60):
                self._add_sale(DocumentKind.SALE, random.draw_between(30_000, 900_000), status)
        for _ in range(random.draw_between(2, 5)):
            self._add_sale(DocumentKind.SALE_CREDIT, random.draw_between(15_000, 260_000), DocumentStatus.AUTHORISED)
        for status in (DocumentStatus.DRAFT, DocumentStatus.VOIDED, DocumentStatus.DELETED):
            if random.has_chance(30):
                self._add_sale(DocumentKind.SALE_CREDIT, random.draw_between(15_000, 260_000), status)

    def add_purchases(self) -> None:
        """Add bills for about a fifth of the sales, and suppliers' credit notes."""
        random = self._random
        bills = random.draw_between(9, 14)
        for _ in range(bills):
            self._add_purchase(DocumentKind.BILL, self.season.sales * 21 // 100 // bills, DocumentStatus.AUTHORISED)
        for status in (DocumentStatus.DRAFT, DocumentStatus.VOIDED):
            if random.has_chance(40):
                self._add_purchase(DocumentKind.BILL, random.draw_between(20_000, 300_000), status)
        if random.has_chance(35):
            self._add_purchase(DocumentKind.BILL_CREDIT, random.draw_between(10_000, 90_000), DocumentStatus.AUTHORISED)

    def _add_sale(self, kind: DocumentKind, net: int, status: DocumentStatus) -> None:
        random = self._random
        roll = random.draw_below(100)
        currency, rate, tax = self.season.organisation.base_currency, None, TaxTreatment.EXCLUSIVE
        if roll < 5:
            currency = random.pick([name for name in _US_DOLLAR_VALUES if name != currency])
            rate = self._draw_rate(currency)
            net = int(net * rate)
        elif roll < 30:
            tax = TaxTreatment.INCLUSIVE
        elif roll < 37:
            tax = TaxTreatment.NONE
        taxed = tax is not TaxTreatment.NONE and rate is None
        lines = self._make_sale_lines(
            net, tax, taxed=taxed, discounted=kind is DocumentKind.SALE and random.has_chance(7)
        )
        days = random.draw_between(1, MAX_DAYS_TO_PAY) if random.has_chance(93) else None
        self._add_document(
            kind, status, tax, currency, rate, f"{random.pick(_FIRST_NAMES)} {random.pick(_SECOND_NAMES)}", lines, days
        )

    def _make_sale_lines(
        self, net: int, tax: TaxTreatment, *, taxed: bool, discounted: bool
    ) -> tuple[DocumentLine, ...]:
        random = self._random
        revenue_type = self._draw_revenue_type()
        region = random.pick(chart.REGIONS)
        lines = []
        for share in _split_amount(random, net, random.pick((1, 1, 1, 2, 2, 3))):
            is_mixed = random.has_chance(12)
            line_type = self._draw_revenue_type() if is_mixed else revenue_type
            line_region = random.pick(chart.REGIONS) if is_mixed else region
            lines.append(self._make_tracked_line(share, tax, taxed, line_type, line_region))
        if discounted:
            account, percent = chart.DISCOUNTS, random.draw_between(2, 8)
            discount = -(net * percent // 100)
            is_tracked = random.has_chance(70)
            discount_type, discount_region = (revenue_type, region) if is_tracked else (None, None)
            lines.append(self._make_line(discount, tax, taxed, account, discount_type, discount_region, "Discount"))
        return tuple(lines)

    def _make_tracked_line(
        self, net: int, tax: TaxTreatment, taxed: bool, revenue_type: str, region: str
    ) -> DocumentLine:
        """A line of a sale; in a few lines one tracking category is missing, or both."""
        roll = self._random.draw_below(100)
        line_type: str | None = revenue_type
        line_region: str | None = region
        account = chart.OTHER_REVENUE
        if roll < 4:
            line_type = line_region = None
        elif roll < 6:
            line_type = None
        else:
            if roll < 8:
                line_region = None
            account = _INCOME_ACCOUNTS[revenue_type]
        return self._make_line(net, tax, taxed, account, line_type, line_region, self._random.pick(_SALE_DESCRIPTIONS))

    def _make_line(
        self,
        net: int,
        tax: TaxTreatment,
        taxed: bool,
        account: str,
        revenue_type: str | None,
        region: str | None,
        description: str,
    ) -> DocumentLine:
        amount, line_tax = net, 0
        if taxed and tax is TaxTreatment.INCLUSIVE:
            amount = net + chart.calculate_tax(net, self._percent)
            line_tax = chart.extract_tax(amount, self._percent)
        elif taxed:
            line_tax = chart.calculate_tax(net, self._percent)
        quantity = self._random.pick((1, 1, 1, 2, 4, 5))
        if amount % quantity:
            quantity = 1
        return DocumentLine(amount, line_tax, account, revenue_type, region, description, quantity)

    def _add_purchase(self, kind: DocumentKind, average_net: int, status: DocumentStatus) -> None:
        random = self._random
        net = average_net * random.draw_between(60, 140) // 100
        roll, account = random.draw_below(sum(_PURCHASE_ACCOUNTS.values())), chart.MATERIALS
        for code, weight in _PURCHASE_ACCOUNTS.items():
            if roll < weight:
                account = code
                break
            roll -= weight
        tax = random.pick(
            (
                TaxTreatment.EXCLUSIVE,
                TaxTreatment.EXCLUSIVE,
                TaxTreatment.EXCLUSIVE,
                TaxTreatment.INCLUSIVE,
                TaxTreatment.NONE,
            )
        )
        lines = tuple(
            self._make_line(share, tax, tax is not TaxTreatment.NONE, account, None, None, "Goods and services")
            for share in _split_amount(random, net, random.pick((1, 1, 2)))
        )
        currency = self.season.organisation.base_currency
        self._add_document(kind, status, tax, currency, None, random.pick(SUPPLIERS), lines, random.draw_between(7, 35))

    def _add_document(
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
        random = self._random
        season = self.season
        position = len(self.documents)
        day = season.start + dt.timedelta(days=random.pick(_WEEKDAYS))
        minute = random.draw_between(8 * 60, 17 * 60)
        written = dt.datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=season.zone)
        moment = written.astimezone(dt.UTC)
        paid = None
        if days_to_pay is not None and status is DocumentStatus.AUTHORISED:
            paid = day + dt.timedelta(days=days_to_pay)
        self.documents.append(
            Document(
                kind=kind,
                id=make_document_id(season.organisation.books_seed, season.number, position),
                number=make_document_number(_NUMBER_PREFIXES[kind], season.number, position),
                date=day,
                due=day + dt.timedelta(days=random.pick((7, 14, 30))),
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

    def _draw_rate(self, currency: str) -> Decimal:
        """Units of the document's currency per unit of the base currency, six decimals; it varies by week."""
        base = _US_DOLLAR_VALUES.get(self.season.organisation.base_currency, 1000)
        noise = self.season.make_random(f"rate {currency}").draw_between(-60_000, 60_000)
        millionths = base * (1_000_000 + noise) // _US_DOLLAR_VALUES[currency]
        return Decimal(millionths).scaleb(-6)

    def _draw_revenue_type(self) -> str:
        return self._random.pick(_REVENUE_TYPE_WEIGHTS)


_REVENUE_TYPE_WEIGHTS = (
    *("Residential",) * 11,
    *("Commercial",) * 7,
    *("Retrospective",) * 2,
)
_INCOME_ACCOUNTS = {
    "Residential": chart.RESIDENTIAL,
    "Commercial": chart.COMMERCIAL,
    "Retrospective": chart.RETROSPECTIVE,
}
_NUMBER_PREFIXES = {
    DocumentKind.SALE: "INV",
    DocumentKind.BILL: "BILL",
    DocumentKind.SALE_CREDIT: "CN",
    DocumentKind.BILL_CREDIT: "BCN",
}


def _split_amount(random: SeededRandom, total: int, parts: int) -> list[int]:
    """Split a total into parts of about the same size."""
    shares = []
    for remaining in range(parts, 1, -1):
        share = total // remaining * random.draw_between(60, 140) // 100
        shares.append(share)
        total -= share
    return [*shares, total]
