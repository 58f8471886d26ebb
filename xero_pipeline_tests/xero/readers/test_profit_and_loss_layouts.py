"""Reports that are written from known books in every layout are read as exactly these books."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal as D
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.readers.accounts import Account
from xero_pipeline.xero.readers.bank_summary import read_bank_summary
from xero_pipeline.xero.readers.profit_and_loss import ProfitAndLoss, read_profit_and_loss
from xero_pipeline.xero.readers.revenue import read_revenue
from xero_pipeline_tests.xero.readers.report_payloads import (
    WEEK,
    Json,
    detail,
    line,
    plain,
    report,
    sample,
    section,
    total,
)

TYPES = {
    "trading_income": ["SALES", "REVENUE"],
    "cost_of_sales": ["DIRECTCOSTS"],
    "other_income": ["OTHERINCOME"],
    "operating_expenses": [
        "EXPENSE", "OVERHEADS", "DEPRECIATN", "WAGESEXPENSE", "SUPERANNUATIONEXPENSE", "PAYROLLNEW:EXPENSE",
    ],
}  # fmt: skip
EARNS = ("trading_income", "other_income")
WORDS = st.sampled_from(["Income", "Less Cost of Sales", "NET PROFIT", "Other", "Rent", "", " Trading Income"])
ANY = st.integers(-(10**9), 10**9)
POSITIVE = st.integers(1, 10**9)


def money(cents: int) -> D:
    return D(cents).scaleb(-2)


@dataclass
class Books:
    """The true figures, and the rows of a report that states them."""

    accounts: dict[str, Account] = field(default_factory=dict)
    lines: dict[str, tuple[str, int]] = field(default_factory=dict)
    write: Callable[[D], Any] = str

    def row(self, category: str, type_: str | None, cents: int, *, sign: int = 1) -> Json:
        """Write a row of a new account. Without a type, the chart does not contain the account."""
        account_id = f"account-{len(self.lines)}"
        if type_ is not None:
            kind, _, class_ = type_.partition(":")
            self.accounts[account_id.lower()] = Account(account_id, None, account_id, kind, class_ or None)
        self.lines[account_id] = (category, cents)
        return detail(account_id, self.write(money(sign * cents)))

    def sum(self, *categories: str) -> int:
        return sum(cents for category, cents in self.lines.values() if category in categories)

    @property
    def profit(self) -> int:
        return self.sum(*EARNS) - self.sum("cost_of_sales", "operating_expenses")

    def write_profit(self) -> Json:
        """The cell of a profit line at this position."""
        return {"Value": self.write(money(self.profit))}

    def read(self, *rows: Json, **options: Any) -> ProfitAndLoss:
        return read_profit_and_loss(report(*rows, **options), week=WEEK, accounts=self.accounts)

    def assert_equal(self, result: ProfitAndLoss, *, with_doubts: bool = False) -> None:
        """Assert that the result is exactly these books."""
        assert all(with_doubts and difference.doubt for difference in result.differences)
        assert {row.account_id: (row.category, row.amount) for row in result.lines.itertuples()} == {
            account_id: (category, money(cents)) for account_id, (category, cents) in self.lines.items()
        }
        gross = self.sum("trading_income") - self.sum("cost_of_sales")
        assert result.totals == {
            "total_trading_income": money(self.sum("trading_income")),
            "cost_of_sales": money(self.sum("cost_of_sales")),
            "gross_profit": money(gross),
            "other_income": money(self.sum("other_income")),
            "operating_expenses": money(self.sum("operating_expenses")),
            "net_profit": money(self.profit),
        }


@st.composite
def draw_rows(
    draw: st.DrawFn, books: Books, category: str, amounts: st.SearchStrategy[int], unknown: bool
) -> list[Json]:
    """Draw the rows of a section. The first account is known, so unknown ones beside it get its category."""
    rows = []
    for number, cents in enumerate(draw(st.lists(amounts, max_size=3))):
        type_: str | None = draw(st.sampled_from(TYPES[category]))
        if unknown and number and draw(st.booleans()):
            type_ = None
        rows.append(books.row(category, type_, cents))
    return rows


def sum_rows(rows: list[Json]) -> D:
    return sum((D(row["Cells"][1]["Value"]) for row in rows), D("0.00"))


@st.composite
def draw_sections(draw: st.DrawFn, books: Books, category: str, amounts: st.SearchStrategy[int] = ANY) -> list[Json]:
    """Draw up to two sections of a category, with a total in Xero's format, as a plain line, or without a total."""
    sections = []
    for _ in range(draw(st.integers(0, 2))):
        rows = draw(draw_rows(books, category, amounts, unknown=True))
        style = draw(st.sampled_from(["summary", "line", "none"]))
        value = books.write(sum_rows(rows))
        title = draw(st.one_of(st.none(), WORDS))
        if style == "summary":
            sections.append(section(title, *rows, total(draw(WORDS), value)))
        else:
            sections.append(section(title, *rows))
            if style == "line" and rows:
                sections.append(line(draw(WORDS), value))
    return sections


def write_profit_line(books: Books, label: str, *, as_summary: bool = False) -> Json:
    value = books.write_profit()["Value"]
    return section("", total(label, value) if as_summary else plain(label, value))


WRITERS = st.sampled_from([str, lambda amount: amount])


@st.composite
def conventional(draw: st.DrawFn, amounts: st.SearchStrategy[int] = ANY) -> tuple[Books, list[Json]]:
    """Draw a report: trading, gross profit, the rest in any order with further profit lines, net profit."""
    books = Books(write=draw(WRITERS))
    rows = [
        *draw(draw_sections(books, "trading_income", amounts)),
        *draw(draw_sections(books, "cost_of_sales", amounts)),
    ]
    rows.append(write_profit_line(books, draw(WORDS), as_summary=draw(st.booleans())))
    for category in draw(st.permutations(["other_income", "operating_expenses", "operating_expenses"])):
        rows += draw(draw_sections(books, category, amounts))
        if draw(st.booleans()):
            rows.append(write_profit_line(books, draw(WORDS)))
        if draw(st.booleans()):
            rows.append(section(draw(WORDS)))
    rows.append(write_profit_line(books, draw(WORDS)))
    return books, rows


@given(conventional(), st.booleans())
@settings(deadline=None)
def test_books_in_sections_are_read_exactly(drawn: tuple[Books, list[Json]], wrapped: bool) -> None:
    books, rows = drawn
    books.assert_equal(books.read(*([section("", *rows)] if wrapped else rows)))


@st.composite
def american(draw: st.DrawFn) -> tuple[Books, list[Json]]:
    """Draw a report with other income and other expenses in one section, the expenses negative."""
    books = Books(write=draw(WRITERS))
    rows = [*draw(draw_sections(books, "trading_income")), *draw(draw_sections(books, "cost_of_sales"))]
    rows.append(write_profit_line(books, "Gross Profit"))
    opex = draw(draw_rows(books, "operating_expenses", POSITIVE, unknown=True))
    rows.append(section("Operating Expenses", *opex, total("Total", books.write(sum_rows(opex)))))
    if draw(st.booleans()):
        rows.append(write_profit_line(books, "Operating Income"))
    income = draw(draw_rows(books, "other_income", POSITIVE, unknown=False))
    types = draw(st.lists(st.sampled_from(TYPES["operating_expenses"]), max_size=3))
    expense = [books.row("operating_expenses", type_, draw(POSITIVE), sign=-1) for type_ in types]
    mixed = draw(st.permutations([*income, *expense]))
    if income and expense:
        # The sign of an unknown account beside both kinds decides its category.
        mixed.append(books.row("operating_expenses", None, draw(POSITIVE), sign=-1))
        mixed.append(books.row("other_income", None, draw(POSITIVE)))
    rows.append(section(draw(WORDS), *mixed, total("Total", books.write(sum_rows(mixed)))))
    rows.append(write_profit_line(books, "Net Income"))
    return books, rows


@given(american())
@settings(deadline=None)
def test_books_in_the_layout_of_the_united_states_are_read_exactly(drawn: tuple[Books, list[Json]]) -> None:
    books, rows = drawn
    # In a section of both kinds an unknown account can be either: its sign decides, and the week is partial.
    books.assert_equal(books.read(*rows), with_doubts=True)


@given(st.data(), WRITERS, st.booleans())
@settings(deadline=None)
def test_books_in_one_section_or_in_none_are_read_exactly(
    data: st.DataObject, write: Callable[[D], Any], one_section: bool
) -> None:
    books = Books(write=write)
    amounts = POSITIVE if one_section else ANY
    rows = []
    for pair in (("trading_income", "cost_of_sales"), ("other_income", "operating_expenses")):
        for category in data.draw(st.permutations(pair)):
            rows += data.draw(draw_rows(books, category, amounts, unknown=False))
        rows.append(plain("Profit", books.write_profit()["Value"]))
    books.assert_equal(books.read(*([section("", *rows)] if one_section else rows)))


@given(st.tuples(POSITIVE, POSITIVE, POSITIVE, POSITIVE), st.booleans(), st.booleans())
@settings(deadline=None)
def test_an_australian_report_of_unknown_accounts_alone_is_read_as_it_states(
    amounts: tuple[int, int, int, int], has_costs: bool, has_other: bool
) -> None:
    books = Books()
    rows = [section("Trading Income", books.row("trading_income", None, amounts[0]))]
    if has_costs:
        rows.append(section("Less Cost of Sales", books.row("cost_of_sales", None, amounts[1])))
    rows.append(write_profit_line(books, "Gross Profit"))
    if has_other:
        rows.append(section("Plus Other Income", books.row("other_income", None, amounts[2])))
    rows.append(section("Less Operating Expenses", books.row("operating_expenses", None, amounts[3])))
    rows.append(write_profit_line(books, "Net Profit"))
    books.assert_equal(books.read(*rows))


def iterate_amount_cells(rows: list[Json]) -> Iterator[Json]:
    """Yield every cell that holds an amount."""
    for row in rows:
        yield from iterate_amount_cells(row.get("Rows", []))
        if row["RowType"] != "Section":
            yield row["Cells"][1]


# No two sums of these amounts differ by one cent.
TENS = ANY.map(lambda cents: cents * 10)


@given(conventional(TENS), st.data())
@settings(deadline=None)
def test_a_figure_that_is_one_cent_off_always_gives_a_difference(
    drawn: tuple[Books, list[Json]], data: st.DataObject
) -> None:
    books, rows = drawn
    books.assert_equal(books.read(*rows))
    cell = data.draw(st.sampled_from(list(iterate_amount_cells(rows))))
    cell["Value"] = books.write(D(cell["Value"]) + data.draw(st.sampled_from([D("0.01"), D("-0.01")])))
    try:
        assert books.read(*rows).differences
    except PayloadNotUnderstood:
        # Money where no account has any.
        assert not books.lines


def iterate_paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from iterate_paths(child, (*path, key))


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.decimals(allow_nan=True),
    st.text(max_size=8),
    st.sampled_from(["row", "SummaryRow", "section", "account", "1.00", "-", "/Date(0)/", "PAID", "ACCREC"]),
    st.lists(st.none(), max_size=2),
    st.dictionaries(st.sampled_from(["Rows", "Cells", "Value", "Id", "RowType"]), st.text(max_size=3), max_size=2),
)


def read_invoices(payload: Any) -> object:
    return read_revenue(
        payload, [], week=Week(WEEK.ending), base_currency="NZD", revenue_tracking="HelloWorld", region_tracking="x"
    )


def load_payload(name: str) -> Any:
    payload = sample(name)
    if name == "invoice":
        document = payload["Invoices"][0]
        document |= {"DateString": "2026-11-18T00:00:00", "Date": "/Date(1794960000000+0000)/"}
        return [document]
    payload["Reports"][0]["ReportTitles"][-1] = "15 to 21 November 2026"
    return payload


READERS: dict[str, Callable[[Any], object]] = {
    "profit_and_loss_au": lambda payload: read_profit_and_loss(payload, week=WEEK, accounts={}),
    "bank_summary": lambda payload: read_bank_summary(payload, week=WEEK),
    "invoice": read_invoices,
}


@pytest.mark.parametrize("name", READERS)
@given(data=st.data(), junk=JUNK)
@settings(deadline=None)
def test_a_payload_with_any_junk_is_read_or_refused_as_not_understood(
    name: str, data: st.DataObject, junk: Any
) -> None:
    payload = load_payload(name)
    READERS[name](copy.deepcopy(payload))
    path = data.draw(
        st.sampled_from([path for path in iterate_paths(payload) if path[1 if name == "invoice" else 0 :]])
    )
    assume(path)
    *parents, last = path
    node = payload
    for key in parents:
        node = node[key]
    node[last] = junk
    with suppress(PayloadNotUnderstood):
        READERS[name](payload)
