"""A week is replaced whole: the table holds the given rows, and changes of a landed week become restatements."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Table, delete, select, text

from xero_pipeline.warehouse.errors import WrongFrame
from xero_pipeline.warehouse.figures.landing import ReplaceResult
from xero_pipeline.warehouse.figures.weekly import replace_cash, replace_profit_and_loss, replace_revenue
from xero_pipeline.warehouse.schema import (
    cash_position_weekly,
    financial_weekly,
    financial_weekly_lines,
    revenue_weekly,
)
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.warehouse.figures.figures_given import (
    CASH_COLUMNS,
    CELL_COLUMNS,
    LINE_COLUMNS,
    TOTALS,
    WEEK,
    Write,
    account,
    cash,
    cell,
    frame,
    land_cash,
    land_profit,
    land_revenue,
    line,
    make_provenance,
    profit,
    revenue,
)


def rows(warehouse: Warehouse, table: Table) -> list[dict[str, Any]]:
    with warehouse.engine.connect() as connection:
        mappings = connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()
        return [dict(row) for row in mappings]


def changes(landing: ReplaceResult) -> list[tuple[str, str, str, str | None, str | None]]:
    return [(r.table_name, r.row_key, r.column_name, r.old_value, r.new_value) for r in landing.restated]


def test_the_given_rows_are_stored_with_their_provenance(warehouse: Warehouse, clock: FakeClock) -> None:
    landing = land_revenue(warehouse, revenue(cell("residential", "north", "161101.83", "1.00", 4)))
    assert (landing.rows, landing.restated, landing.previous) == (1, [], False)
    assert rows(warehouse, revenue_weekly) == [
        {
            "tenant_id": "org-1",
            "week_ending": WEEK.ending,
            "revenue_type": "residential",
            "region": "north",
            "invoiced": Decimal("161101.83"),
            "credited": Decimal("1.00"),
            "net_revenue": Decimal("161100.83"),
            "tax": Decimal("0.10"),
            "invoice_count": 4,
            "credit_note_count": 0,
            "data_source": "xero_mock",
            "currency": "AUD",
            "updated_at": clock.now(),
        }
    ]


def test_a_profit_and_loss_is_stored_as_a_row_of_totals_and_its_lines(warehouse: Warehouse) -> None:
    landing = land_profit(warehouse, profit("10.00", line("acc-1", "7.00"), line("acc-2", "3.00")))
    assert landing.rows == 3
    (totals,) = rows(warehouse, financial_weekly)
    assert (totals["basis"], totals["total_trading_income"]) == ("accrual", Decimal("10.00"))
    assert [row["amount"] for row in rows(warehouse, financial_weekly_lines)] == [
        Decimal("7.00"),
        Decimal("3.00"),
    ]


@pytest.mark.parametrize("empty", [frame(CELL_COLUMNS), pd.DataFrame()])
def test_an_empty_week_also_replaces_the_figures(warehouse: Warehouse, empty: pd.DataFrame) -> None:
    land_revenue(warehouse, revenue(cell("residential", "north", "5.00")))
    landing = land_revenue(warehouse, lambda connection, provenance: replace_revenue(connection, provenance, empty))
    assert rows(warehouse, revenue_weekly) == []
    assert (landing.rows, landing.previous, len(landing.restated)) == (0, True, 6)


def test_other_weeks_and_organisations_are_not_changed(warehouse: Warehouse) -> None:
    land_revenue(warehouse, revenue(cell("retail", "north", "1.00")), week=WEEK.previous)
    land_revenue(warehouse, revenue(cell("retail", "north", "2.00")), tenant_id="org-2")
    land_revenue(warehouse, revenue(cell("retail", "north", "3.00")))
    land_revenue(warehouse, revenue())
    stored = [(row["tenant_id"], row["invoiced"]) for row in rows(warehouse, revenue_weekly)]
    assert stored == [("org-1", Decimal("1.00")), ("org-2", Decimal("2.00"))]


def test_landing_the_same_week_again_restates_and_changes_nothing(warehouse: Warehouse, clock: FakeClock) -> None:
    write = revenue(cell("residential", "north", "5.00"), cell("commercial", "north", "6.00"))
    land_revenue(warehouse, write)
    before = rows(warehouse, revenue_weekly)
    clock.advance(days=1)
    landing = land_revenue(warehouse, write)
    assert (landing.rows, landing.restated, landing.previous) == (2, [], True)
    assert rows(warehouse, revenue_weekly) == before


def test_only_a_changed_row_gets_a_new_update_time(warehouse: Warehouse, clock: FakeClock) -> None:
    land_revenue(warehouse, revenue(cell("commercial", "north", "6.00"), cell("residential", "north", "5.00")))
    clock.advance(days=1)
    land_revenue(warehouse, revenue(cell("commercial", "north", "6.00"), cell("residential", "north", "5.50")))
    assert [row["updated_at"] for row in rows(warehouse, revenue_weekly)] == [
        clock.now() - timedelta(days=1),
        clock.now(),
    ]


def test_figures_that_change_appear_or_disappear_are_restated(warehouse: Warehouse, clock: FakeClock) -> None:
    land_cash(warehouse, cash(account("bank-1", "1.00"), account("bank-2", "2.00", "Savings")))
    clock.advance(days=7)
    landing = land_cash(warehouse, cash(account("bank-1", "1.50"), account("bank-3", "0.00", "Till")), run_id="run-2")
    table = "cash_position_weekly"
    assert changes(landing) == [
        (table, "bank-1", "cash_received", "1.00", "1.50"),
        (table, "bank-1", "closing_balance", "1.00", "1.50"),
        (table, "bank-2", "opening_balance", "0.00", None),
        (table, "bank-2", "cash_received", "2.00", None),
        (table, "bank-2", "cash_spent", "0.00", None),
        (table, "bank-2", "currency_gain", "0.00", None),
        (table, "bank-2", "closing_balance", "2.00", None),
        (table, "bank-3", "opening_balance", None, "0.00"),
        (table, "bank-3", "cash_received", None, "0.00"),
        (table, "bank-3", "cash_spent", None, "0.00"),
        (table, "bank-3", "currency_gain", None, "0.00"),
        (table, "bank-3", "closing_balance", None, "0.00"),
    ]
    assert warehouse.list_restatements() == landing.restated
    first = landing.restated[0]
    assert (first.tenant_id, first.week, first.row_name) == ("org-1", WEEK, "Cheque")
    assert (first.restated_at, first.dagster_run_id) == (clock.now(), "run-2")
    assert landing.restated[2].row_name == "Savings", "a row that is gone keeps its name"


def test_counts_and_categories_are_restated_and_names_are_not(warehouse: Warehouse) -> None:
    land_revenue(warehouse, revenue(cell("residential", "north", "5.00", invoices=1)))
    landing = land_revenue(warehouse, revenue(cell("residential", "north", "5.00", invoices=2)))
    assert changes(landing) == [("revenue_weekly", "residential / north", "invoice_count", "1", "2")]

    land_profit(warehouse, profit("5.00", line("acc-1", "5.00", name="Sales")))
    landing = land_profit(warehouse, profit("5.00", line("acc-1", "5.00", "other_income", name="Sundries")))
    assert changes(landing) == [
        ("financial_weekly_lines", "acc-1", "category", "trading_income", "other_income"),
    ]
    assert [row["account_name"] for row in rows(warehouse, financial_weekly_lines)] == ["Sundries"]

    landing = land_profit(warehouse, profit("6.00", line("acc-1", "5.00", "other_income"), basis="cash"))
    assert changes(landing) == [("financial_weekly", "week", "total_trading_income", "5.00", "6.00")]
    assert rows(warehouse, financial_weekly)[0]["basis"] == "cash"


def test_a_first_landing_restates_nothing_even_after_a_failed_attempt(warehouse: Warehouse) -> None:
    failed = warehouse.log.start("org-1", "invoices", WEEK, "run-0")
    warehouse.log.fail(failed, api_calls=1, error_log=None)
    land_profit(warehouse, profit("1.00"))
    landing = land_revenue(warehouse, revenue(cell("residential", "north", "5.00")))
    assert (landing.previous, landing.restated) == (False, [])


def test_a_week_that_had_landed_empty_is_restated_when_it_gets_figures(warehouse: Warehouse) -> None:
    land_revenue(warehouse, revenue())
    landing = land_revenue(warehouse, revenue(cell("residential", "north", "5.00")))
    assert landing.previous
    assert ("revenue_weekly", "residential / north", "invoiced", None, "5.00") in changes(landing)


def test_stored_rows_count_as_landed_even_without_a_row_in_the_sync_log(warehouse: Warehouse) -> None:
    land_profit(warehouse, profit("5.00", line("acc-1", "5.00")))
    with warehouse.engine.begin() as connection:
        connection.execute(text("DELETE FROM xero_sync_logs"))
        connection.execute(delete(financial_weekly))
    landing = land_profit(warehouse, profit("5.00", line("acc-1", "4.00")))
    assert landing.previous
    assert ("financial_weekly_lines", "acc-1", "amount", "5.00", "4.00") in changes(landing)


def test_restatements_are_listed_newest_first_and_can_be_filtered(warehouse: Warehouse, clock: FakeClock) -> None:
    for amount in ("1.00", "2.00", "3.00"):
        for tenant in ("org-1", "org-2"):
            land_profit(warehouse, profit(amount), tenant_id=tenant)
        clock.advance(days=1)
    now = clock.now()
    listed = [
        (restatement.tenant_id, restatement.old_value, restatement.new_value)
        for restatement in warehouse.list_restatements()
    ]
    assert listed == [
        ("org-1", "2.00", "3.00"),
        ("org-2", "2.00", "3.00"),
        ("org-1", "1.00", "2.00"),
        ("org-2", "1.00", "2.00"),
    ]
    assert len(warehouse.list_restatements(since=now - timedelta(days=1))) == 2
    assert len(warehouse.list_restatements(since=now)) == 0
    assert len(warehouse.list_restatements(tenant_id="org-2")) == 2
    (newest,) = warehouse.list_restatements(limit=1)
    assert newest.as_dict() == {
        "tenantId": "org-1",
        "weekEnding": "2026-11-21",
        "table": "financial_weekly",
        "key": "week",
        "name": "week",
        "column": "total_trading_income",
        "old": "2.00",
        "new": "3.00",
        "restatedAt": "2026-11-26T01:00:00+00:00",
        "dagsterRunId": "run-1",
    }


CENTS = st.integers(-(10**6), 10**6).map(lambda whole: Decimal(whole).scaleb(-2))
CELLS = st.dictionaries(
    st.tuples(st.sampled_from(["residential", "commercial", "ä / b"]), st.sampled_from(["north", "unallocated"])),
    st.tuples(CENTS, CENTS, CENTS, CENTS, st.integers(0, 9), st.integers(0, 9)),
    max_size=4,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(weeks=st.lists(CELLS, min_size=1, max_size=4))
def test_after_any_series_of_syncs_the_last_one_is_stored_and_the_restatements_lead_to_it(
    warehouse: Warehouse, weeks: list[dict[tuple[str, str], tuple[Any, ...]]]
) -> None:
    with warehouse.engine.begin() as connection:
        for table in ("xero_sync_logs", "restatements", "revenue_weekly"):
            connection.execute(text(f"DELETE FROM {table}"))
    restated_figures: dict[tuple[str, str], str | None] = {}
    for number, week in enumerate(weeks):
        landing = land_revenue(warehouse, revenue(*((*key, *values) for key, values in week.items())))
        stored = rows(warehouse, revenue_weekly)
        assert {
            (row["revenue_type"], row["region"]): tuple(row[name] for name in CELL_COLUMNS[2:]) for row in stored
        } == week
        figures = {
            (" / ".join(key), name): str(value)
            for key, values in week.items()
            for name, value in zip(CELL_COLUMNS[2:], values, strict=True)
        }
        if number == 0:
            assert landing.restated == []
            restated_figures = dict(figures)
        for restatement in landing.restated:
            assert (
                restated_figures.get((restatement.row_key, restatement.column_name))
                == restatement.old_value
                != restatement.new_value
            )
            restated_figures[restatement.row_key, restatement.column_name] = restatement.new_value
        assert {key: value for key, value in restated_figures.items() if value is not None} == figures


def with_value(columns: list[str], row: tuple[Any, ...], column: str, value: object) -> pd.DataFrame:
    return frame(columns, tuple(value if name == column else old for name, old in zip(columns, row, strict=True)))


GOOD_LINE, GOOD_CELL, GOOD_ACCOUNT = (
    line("acc-1", "1.00"),
    cell("residential", "north", "1.00"),
    account("bank-1", "1.00"),
)
NIL = dict.fromkeys(TOTALS, Decimal("0.00"))


def lines_write(lines: pd.DataFrame, totals: Mapping[str, Any] = NIL) -> Write:
    return lambda connection, provenance: replace_profit_and_loss(connection, provenance, "accrual", totals, lines)


def cells_write(cells: pd.DataFrame) -> Write:
    return lambda connection, provenance: replace_revenue(connection, provenance, cells)


def cash_write(accounts: pd.DataFrame) -> Write:
    return lambda connection, provenance: replace_cash(connection, provenance, accounts)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (cells_write(frame(CELL_COLUMNS, GOOD_CELL).drop(columns=["tax", "region"])), "lack region, tax"),
        (cells_write(frame(CELL_COLUMNS, GOOD_CELL).assign(colour="red")), "unknown columns colour"),
        (cells_write(frame(CELL_COLUMNS, GOOD_CELL, GOOD_CELL)), "residential / north occurs twice"),
        (
            cells_write(with_value(CELL_COLUMNS, GOOD_CELL, "tax", 0.1)),
            "tax: money must be a Decimal, not a float",
        ),
        (
            cells_write(with_value(CELL_COLUMNS, GOOD_CELL, "tax", Decimal("0.005"))),
            "tax: .* fraction of a cent",
        ),
        (cells_write(with_value(CELL_COLUMNS, GOOD_CELL, "tax", None)), "tax: a value is missing"),
        (cells_write(with_value(CELL_COLUMNS, GOOD_CELL, "region", None)), "region: a value is missing"),
        (cells_write(with_value(CELL_COLUMNS, GOOD_CELL, "region", 7)), "region: the value must be text"),
        (
            cells_write(with_value(CELL_COLUMNS, GOOD_CELL, "invoice_count", 1.0)),
            "invoice_count: .* whole number",
        ),
        (
            cells_write(with_value(CELL_COLUMNS, GOOD_CELL, "invoice_count", True)),
            "invoice_count: .* whole number",
        ),
        (cells_write(frame([*CELL_COLUMNS[:-1], "tax"], GOOD_CELL)), "lack credit_note_count"),
        (cash_write(frame(CELL_COLUMNS, GOOD_CELL)), "cash_position_weekly: .* lack "),
        (
            cash_write(with_value(CASH_COLUMNS, GOOD_ACCOUNT, "bank_account_id", float("nan"))),
            "a value is missing",
        ),
        (
            lines_write(frame(LINE_COLUMNS, GOOD_LINE), {"net_profit": Decimal("0.00")}),
            "financial_weekly: .* lack ",
        ),
        (lines_write(frame(LINE_COLUMNS, GOOD_LINE), {**NIL, "tax": Decimal("0.00")}), "unknown columns tax"),
        (
            lines_write(frame(LINE_COLUMNS, GOOD_LINE), {**NIL, "net_profit": 0}),
            "net_profit: money must be a Decimal",
        ),
    ],
)
def test_a_frame_with_wrong_columns_or_values_is_refused_before_anything_changes(
    sqlite_warehouse: Warehouse, write: Write, message: str
) -> None:
    land_revenue(sqlite_warehouse, revenue(GOOD_CELL))
    with pytest.raises(WrongFrame, match=message), sqlite_warehouse.engine.begin() as connection:
        write(connection, make_provenance())
    assert len(rows(sqlite_warehouse, revenue_weekly)) == 1


def test_pandas_types_of_text_numbers_and_missing_values_are_accepted(warehouse: Warehouse) -> None:
    lines = pd.DataFrame(
        {
            "account_id": pd.Series(["acc-1", "acc-2", "acc-3"], dtype="string"),
            "account_code": pd.Series(["200", None, float("nan")]),
            "account_name": ["Sales", "Gains", "Other"],
            "account_type": pd.Series(["REVENUE", pd.NA, None], dtype="string"),
            "category": pd.Categorical(["trading_income"] * 3),
            "amount": [Decimal("1.00")] * 3,
        }
    )
    land_profit(
        warehouse, lambda connection, provenance: replace_profit_and_loss(connection, provenance, "accrual", NIL, lines)
    )
    stored = rows(warehouse, financial_weekly_lines)
    assert [row["account_code"] for row in stored] == ["200", None, None]
    assert [row["account_type"] for row in stored] == ["REVENUE", None, None]
    counted = frame(CELL_COLUMNS, GOOD_CELL).astype({"invoice_count": "int64", "credit_note_count": "Int32"})
    land_revenue(warehouse, cells_write(counted))
    assert rows(warehouse, revenue_weekly)[0]["invoice_count"] == 1


GUID = "0f2e4b1a-9c3d-4e5f-8a7b-6c5d4e3f2a1b"


def respell(warehouse: Warehouse, table: Table, column: str) -> None:
    """Write the ids in capitals, as an older version stored what Xero sent."""
    with warehouse.engine.begin() as connection:
        connection.execute(table.update().values({column: GUID.upper()}))


def test_an_id_in_other_capitals_is_the_same_row_and_restates_nothing(warehouse: Warehouse, clock: FakeClock) -> None:
    land_profit(warehouse, profit("7.00", line(GUID, "7.00")))
    land_cash(warehouse, cash(account(GUID, "5.00")))
    respell(warehouse, financial_weekly_lines, "account_id")
    respell(warehouse, cash_position_weekly, "bank_account_id")
    clock.advance(hours=1)
    assert changes(land_profit(warehouse, profit("7.00", line(GUID, "7.00")))) == []
    assert changes(land_cash(warehouse, cash(account(GUID.upper(), "6.00")))) == [
        ("cash_position_weekly", GUID, "cash_received", "5.00", "6.00"),
        ("cash_position_weekly", GUID, "closing_balance", "5.00", "6.00"),
    ]
    assert [row["account_id"] for row in rows(warehouse, financial_weekly_lines)] == [GUID]
    assert [row["bank_account_id"] for row in rows(warehouse, cash_position_weekly)] == [GUID]


def test_a_row_that_is_stored_in_two_spellings_is_one_row_after_the_next_sync(warehouse: Warehouse) -> None:
    land_cash(warehouse, cash(account(GUID, "5.00")))
    (row,) = rows(warehouse, cash_position_weekly)
    with warehouse.engine.begin() as connection:
        connection.execute(cash_position_weekly.insert().values(row | {"bank_account_id": GUID.upper()}))
    assert changes(land_cash(warehouse, cash(account(GUID, "5.00")))) == []
    assert [row["bank_account_id"] for row in rows(warehouse, cash_position_weekly)] == [GUID]
    with pytest.raises(WrongFrame, match="twice"):
        land_cash(warehouse, cash(account(GUID, "5.00"), account(GUID.upper(), "5.00")))


def read_balances(warehouse: Warehouse) -> dict[str, Decimal]:
    return {
        row["bank_account_id"]: row["closing_balance"]
        for row in rows(warehouse, cash_position_weekly)
        if row["week_ending"] == WEEK.ending
    }


def read_log(warehouse: Warehouse) -> tuple[str, list[str]]:
    entry = warehouse.log.get_last("org-1", "bank_summary", WEEK)
    assert entry is not None
    return entry.status, [difference["where"] for difference in (entry.error_log or {}).get("differences", [])]


def moved(account_id: str, opening: str, closing: str) -> tuple[Any, ...]:
    received = Decimal(closing) - Decimal(opening)
    nothing = Decimal("0.00")
    return (account_id, account_id.title(), Decimal(opening), received, nothing, nothing, Decimal(closing))


def test_an_account_that_vanishes_with_money_in_it_keeps_its_row_and_makes_the_week_partial(
    warehouse: Warehouse, clock: FakeClock
) -> None:
    land_cash(warehouse, cash(moved("one", "1.00", "5.00"), moved("two", "2.00", "6.00")), week=WEEK.previous)
    land_cash(warehouse, cash(moved("one", "5.00", "7.00"), moved("two", "6.00", "8.00")))
    clock.advance(hours=1)
    landing = land_cash(warehouse, cash(moved("two", "6.00", "9.00")))
    assert read_balances(warehouse) == {"one": Decimal("7.00"), "two": Decimal("9.00")}
    assert {row_key for _, row_key, *_ in changes(landing)} == {"two"}
    assert (landing.rows, read_log(warehouse)) == (2, ("partial", ["opening balance of One"]))
    land_cash(warehouse, cash(moved("one", "5.00", "7.50"), moved("two", "6.00", "9.00")))
    assert (read_balances(warehouse)["one"], read_log(warehouse)) == (Decimal("7.50"), ("success", []))


def test_a_summary_without_accounts_deletes_none_that_had_money(warehouse: Warehouse) -> None:
    land_cash(warehouse, cash(moved("one", "0.00", "5.00"), moved("two", "0.00", "0.00")))
    assert changes(land_cash(warehouse, cash())) == [
        ("cash_position_weekly", "two", column, "0.00", None)
        for column in ("opening_balance", "cash_received", "cash_spent", "currency_gain", "closing_balance")
    ]
    assert (read_balances(warehouse), read_log(warehouse)[0]) == ({"one": Decimal("5.00")}, "partial")


def test_an_account_that_was_held_the_week_before_is_missed_in_a_new_week(warehouse: Warehouse) -> None:
    land_cash(warehouse, cash(moved("one", "1.00", "5.00"), moved("two", "2.00", "6.00")), week=WEEK.previous)
    land_cash(warehouse, cash(moved("two", "6.00", "8.00")))
    assert read_balances(warehouse) == {"two": Decimal("8.00")}
    assert read_log(warehouse) == ("partial", ["opening balance of One"])


def test_an_account_that_was_archived_at_zero_is_no_difference(warehouse: Warehouse) -> None:
    land_cash(warehouse, cash(moved("one", "1.00", "0.00"), moved("two", "2.00", "6.00")), week=WEEK.previous)
    land_cash(warehouse, cash(moved("one", "0.00", "0.00"), moved("two", "6.00", "8.00")))
    land_cash(warehouse, cash(moved("two", "6.00", "8.00")))
    assert (read_balances(warehouse), read_log(warehouse)) == ({"two": Decimal("8.00")}, ("success", []))


def test_a_doubtful_profit_and_loss_leaves_what_was_held_and_writes_where_nothing_was(warehouse: Warehouse) -> None:
    totals = dict.fromkeys(TOTALS, Decimal("0.00"))

    def doubtful(connection: Any, provenance: Any) -> ReplaceResult:
        empty = frame(LINE_COLUMNS)
        return replace_profit_and_loss(connection, provenance, "accrual", totals, empty, is_doubtful=True)

    assert land_profit(warehouse, doubtful, week=WEEK.previous).rows == 1
    land_profit(warehouse, profit("7.00", line("acc-1", "7.00")))
    landing = land_profit(warehouse, doubtful)
    assert (landing.rows, changes(landing)) == (2, [])
    assert [row["total_trading_income"] for row in rows(warehouse, financial_weekly)] == [Decimal(0), Decimal("7.00")]
