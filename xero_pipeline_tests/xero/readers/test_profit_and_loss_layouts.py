"""Reports written from known books in every layout, and read back: exactly the books come out."""

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
from xero_pipeline.xero.readers.documents import read_revenue
from xero_pipeline.xero.readers.profit_and_loss import ProfitAndLoss, read_profit_and_loss
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
    """What is true, and the rows that a report has of it."""

    accounts: dict[str, Account] = field(default_factory=dict)
    lines: dict[str, tuple[str, int]] = field(default_factory=dict)
    write: Callable[[D], Any] = str

    def row(self, category: str, type_: str | None, cents: int, *, sign: int = 1) -> Json:
        """A row of a new account; `None` for one that the chart does not know."""
        account_id = f"Account-{len(self.lines)}"
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

    def running(self) -> Json:
        """What a profit line says at this place."""
        return {"Value": self.write(money(self.profit))}

    def read(self, *rows: Json, **how: Any) -> ProfitAndLoss:
        return read_profit_and_loss(report(*rows, **how), week=WEEK, accounts=self.accounts)

    def holds(self, found: ProfitAndLoss) -> None:
        """Hold what was read against the truth."""
        assert not found.differences
        assert {row.account_id: (row.category, row.amount) for row in found.lines.itertuples()} == {
            account_id: (category, money(cents)) for account_id, (category, cents) in self.lines.items()
        }
        gross = self.sum("trading_income") - self.sum("cost_of_sales")
        assert found.totals == {
            "total_trading_income": money(self.sum("trading_income")),
            "cost_of_sales": money(self.sum("cost_of_sales")),
            "gross_profit": money(gross),
            "other_income": money(self.sum("other_income")),
            "operating_expenses": money(self.sum("operating_expenses")),
            "net_profit": money(self.profit),
        }


@st.composite
def rows_of(
    draw: st.DrawFn, books: Books, category: str, amounts: st.SearchStrategy[int], strangers: bool
) -> list[Json]:
    """A section's rows. The first account is known, so strangers beside it can be placed."""
    rows = []
    for number, cents in enumerate(draw(st.lists(amounts, max_size=3))):
        type_: str | None = draw(st.sampled_from(TYPES[category]))
        if strangers and number and draw(st.booleans()):
            type_ = None
        rows.append(books.row(category, type_, cents))
    return rows


def summed(rows: list[Json]) -> D:
    return sum((D(row["Cells"][1]["Value"]) for row in rows), D("0.00"))


@st.composite
def sections_of(draw: st.DrawFn, books: Books, category: str, amounts: st.SearchStrategy[int] = ANY) -> list[Json]:
    """One or two sections of a category, with a total as Xero writes it, as a plain line, or with none."""
    sections = []
    for _ in range(draw(st.integers(0, 2))):
        rows = draw(rows_of(books, category, amounts, strangers=True))
        style = draw(st.sampled_from(["summary", "line", "none"]))
        value = books.write(summed(rows))
        title = draw(st.one_of(st.none(), WORDS))
        if style == "summary":
            sections.append(section(title, *rows, total(draw(WORDS), value)))
        else:
            sections.append(section(title, *rows))
            if style == "line" and rows:
                sections.append(line(draw(WORDS), value))
    return sections


def profit_line(books: Books, label: str, *, as_summary: bool = False) -> Json:
    value = books.running()["Value"]
    return section("", total(label, value) if as_summary else plain(label, value))


WRITERS = st.sampled_from([str, lambda amount: amount])


@st.composite
def conventional(draw: st.DrawFn, amounts: st.SearchStrategy[int] = ANY) -> tuple[Books, list[Json]]:
    """Trading, gross profit, the rest in any order, now and then a profit line more, net profit."""
    books = Books(write=draw(WRITERS))
    rows = [*draw(sections_of(books, "trading_income", amounts)), *draw(sections_of(books, "cost_of_sales", amounts))]
    rows.append(profit_line(books, draw(WORDS), as_summary=draw(st.booleans())))
    for category in draw(st.permutations(["other_income", "operating_expenses", "operating_expenses"])):
        rows += draw(sections_of(books, category, amounts))
        if draw(st.booleans()):
            rows.append(profit_line(books, draw(WORDS)))
        if draw(st.booleans()):
            rows.append(section(draw(WORDS)))
    rows.append(profit_line(books, draw(WORDS)))
    return books, rows


@given(conventional(), st.booleans(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_books_in_sections_are_read_back_exactly(made: tuple[Books, list[Json]], header: bool, wrapped: bool) -> None:
    books, rows = made
    books.holds(books.read(*([section("", *rows)] if wrapped else rows), header=header))


@st.composite
def american(draw: st.DrawFn) -> tuple[Books, list[Json]]:
    """Other income and other expense in one section, the expenses negative."""
    books = Books(write=draw(WRITERS))
    rows = [*draw(sections_of(books, "trading_income")), *draw(sections_of(books, "cost_of_sales"))]
    rows.append(profit_line(books, "Gross Profit"))
    opex = draw(rows_of(books, "operating_expenses", POSITIVE, strangers=True))
    rows.append(section("Operating Expenses", *opex, total("Total", books.write(summed(opex)))))
    if draw(st.booleans()):
        rows.append(profit_line(books, "Operating Income"))
    income = draw(rows_of(books, "other_income", POSITIVE, strangers=False))
    types = draw(st.lists(st.sampled_from(TYPES["operating_expenses"]), max_size=3))
    expense = [books.row("operating_expenses", type_, draw(POSITIVE), sign=-1) for type_ in types]
    mixed = draw(st.permutations([*income, *expense]))
    if income and expense:
        # Strangers beside both kinds are told by their own sign.
        mixed.append(books.row("operating_expenses", None, draw(POSITIVE), sign=-1))
        mixed.append(books.row("other_income", None, draw(POSITIVE)))
    rows.append(section(draw(WORDS), *mixed, total("Total", books.write(summed(mixed)))))
    rows.append(profit_line(books, "Net Income"))
    return books, rows


@given(american())
@settings(max_examples=150, deadline=None)
def test_books_in_the_layout_of_the_united_states_are_read_back_exactly(made: tuple[Books, list[Json]]) -> None:
    books, rows = made
    books.holds(books.read(*rows))


@given(st.data(), WRITERS, st.booleans())
@settings(deadline=None)
def test_books_in_one_section_or_in_none_are_read_back_exactly(
    data: st.DataObject, write: Callable[[D], Any], one_section: bool
) -> None:
    books = Books(write=write)
    amounts = POSITIVE if one_section else ANY
    rows = []
    for pair in (("trading_income", "cost_of_sales"), ("other_income", "operating_expenses")):
        for category in data.draw(st.permutations(pair)):
            rows += data.draw(rows_of(books, category, amounts, strangers=False))
        rows.append(plain("Profit", books.running()["Value"]))
    books.holds(books.read(*([section("", *rows)] if one_section else rows)))


@given(st.tuples(POSITIVE, POSITIVE, POSITIVE, POSITIVE), st.booleans(), st.booleans())
@settings(deadline=None)
def test_an_australian_report_of_strangers_alone_comes_out_as_it_states(
    amounts: tuple[int, int, int, int], has_costs: bool, has_other: bool
) -> None:
    books = Books()
    rows = [section("Trading Income", books.row("trading_income", None, amounts[0]))]
    if has_costs:
        rows.append(section("Less Cost of Sales", books.row("cost_of_sales", None, amounts[1])))
    rows.append(profit_line(books, "Gross Profit"))
    if has_other:
        rows.append(section("Plus Other Income", books.row("other_income", None, amounts[2])))
    rows.append(section("Less Operating Expenses", books.row("operating_expenses", None, amounts[3])))
    rows.append(profit_line(books, "Net Profit"))
    books.holds(books.read(*rows))


def stated(rows: list[Json]) -> Iterator[Json]:
    """Every cell that holds an amount."""
    for row in rows:
        yield from stated(row.get("Rows", []))
        if row["RowType"] != "Section":
            yield row["Cells"][1]


# No sum of these is a cent away from another.
TENS = ANY.map(lambda cents: cents * 10)


@given(conventional(TENS), st.data())
@settings(max_examples=150, deadline=None)
def test_no_figure_can_be_a_cent_off_without_being_told(made: tuple[Books, list[Json]], data: st.DataObject) -> None:
    books, rows = made
    books.holds(books.read(*rows))
    cell = data.draw(st.sampled_from(list(stated(rows))))
    cell["Value"] = books.write(D(cell["Value"]) + data.draw(st.sampled_from([D("0.01"), D("-0.01")])))
    assert books.read(*rows).differences


def spots(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from spots(child, (*path, key))


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


def revenue(payload: Any) -> object:
    return read_revenue(
        payload, [], week=Week(WEEK.ending), base_currency="NZD", revenue_tracking="HelloWorld", region_tracking="x"
    )


def prepared(name: str) -> Any:
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
    "invoice": revenue,
}


@pytest.mark.parametrize("name", READERS)
@given(data=st.data(), junk=JUNK)
@settings(max_examples=150, deadline=None)
def test_whatever_stands_in_a_payload_is_read_or_is_refused_as_not_understood(
    name: str, data: st.DataObject, junk: Any
) -> None:
    payload = prepared(name)
    READERS[name](copy.deepcopy(payload))
    path = data.draw(st.sampled_from([path for path in spots(payload) if path[1 if name == "invoice" else 0 :]]))
    assume(path)
    *way, last = path
    node = payload
    for key in way:
        node = node[key]
    node[last] = junk
    with suppress(PayloadNotUnderstood):
        READERS[name](payload)
