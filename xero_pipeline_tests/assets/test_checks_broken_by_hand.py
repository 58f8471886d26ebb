"""For each manual change of the tables, exactly the check that covers it fails, on both databases.

Each break is SQL that a person could run with a database tool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import pytest

from xero_pipeline.assets.check_evaluation import evaluate_checks
from xero_pipeline.assets.checks import CHECK_GROUPS
from xero_pipeline.settings import Settings, load_settings
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.migrated import empty_postgres, make_tables
from xero_pipeline_tests.warehouse.checks.books_given import (
    LATEST,
    MIDDLE,
    NAME,
    connect,
    execute_by_hand,
    land_books,
    restore_afterwards,
)
from xero_pipeline_tests.warehouse.figures.figures_given import KEY

Failures = dict[str, str]
"""The description of each failing check, by `table.check`."""


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """A connected warehouse with thirteen weeks without any violation. All tests of this module share it."""
    with ExitStack() as stack:
        if request.param == "sqlite":
            url = f"sqlite:///{tmp_path_factory.mktemp('held') / 'warehouse.db'}"
        else:
            url = request.getfixturevalue("postgres_server")
            empty_postgres(url)
        warehouse = Warehouse.open(url, [KEY], FakeClock())
        stack.callback(warehouse.close)
        make_tables(warehouse.engine)
        connect(warehouse)
        land_books(warehouse)
        settings = load_settings(
            XERO_MOCK_MODE="true", XERO_ENCRYPTION_KEY="5e" * 32, DAGSTER_HOME=str(tmp_path_factory.mktemp("home"))
        )
        assert find_failures(warehouse, settings, [LATEST]) == {}
        yield warehouse


@pytest.fixture
def warehouse(whole: Warehouse) -> Iterator[Warehouse]:
    """The same warehouse for a test to break. The tables are restored afterwards."""
    with restore_afterwards(whole.engine):
        yield whole


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(XERO_MOCK_MODE="true", XERO_ENCRYPTION_KEY="5e" * 32, DAGSTER_HOME=str(tmp_path))


def find_failures(warehouse: Warehouse, settings: Settings, weeks: Sequence[Week] | None = None) -> Failures:
    results = [
        result for group in CHECK_GROUPS for result in evaluate_checks(group, group.rules, settings, warehouse, weeks)
    ]
    assert len(results) == sum(len(group.rules) for group in CHECK_GROUPS)
    return {
        f"{result.asset_key.to_user_string()}.{result.check_name}": result.description or ""
        for result in results
        if result.asset_key and not result.passed
    }


def test_books_that_add_up_fail_no_check(warehouse: Warehouse, settings: Settings) -> None:
    assert find_failures(warehouse, settings) == {}


_DELETE_ROWS = "DELETE FROM {table} WHERE week_ending = {week}"
_DELETE_LOG = "DELETE FROM xero_sync_logs WHERE week_ending = {week} AND sync_type = '{kind}'"


def _delete(week: str, kind: str, *tables: str) -> tuple[str, ...]:
    return (
        *(_DELETE_ROWS.format(table=table, week=week) for table in tables),
        _DELETE_LOG.format(week=week, kind=kind),
    )


def _update(table: str, assignment: str, row: str = "1 = 1", *, week: str = ":week") -> tuple[str, ...]:
    return (f"UPDATE {table} SET {assignment} WHERE {row} AND week_ending = {week}",)


def _partial(kind: str) -> tuple[str, ...]:
    return (
        'UPDATE xero_sync_logs SET status = \'partial\', error_log = \'{"differences": [{"where": "Net Profit", '
        '"stated": "68822.31", "found": "68822.30", "difference": "0.01"}]}\' '
        f"WHERE week_ending = :week AND sync_type = '{kind}'",
    )


def _leave_over(kind: str, sync_type: str) -> tuple[str, ...]:
    """The weeks differ from Xero's total, although they were read again."""
    return (
        "INSERT INTO reconciliations (tenant_id, kind, first_week, last_week, status, difference, weeks_read_again, "
        f"api_calls, checked_at) SELECT tenant_id, '{kind}', :week, :week, 'differs', "
        '\'{"left_over": true, "figures": [{"account_name": "Rent", "figure": "contribution", "stated": "-10.07", '
        '"held": "-10.00"}]}\', 1, 5, started_at '
        f"FROM xero_sync_logs WHERE week_ending = :week AND sync_type = '{sync_type}'",
    )


_LINES = "financial_weekly_lines"
_TOTALS = "financial_weekly"
_CELLS = "revenue_weekly"
_CASH = "cash_position_weekly"

_PROVENANCE_COLUMNS = "data_source, currency, updated_at"

# By a description of the break: the check that fails, the statements, and the words that its description must have.
BREAKS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "a line is a cent more": (
        "financial_weekly.lines_add_up",
        _update(_LINES, "amount = '3000.01'", "account_id = 'rent-1'"),
        ("operating_expenses", "a difference of -0.01"),
    ),
    "a line is a huge amount": (
        "financial_weekly.lines_add_up",
        _update(_LINES, "amount = '9000000.00'", "account_id = 'sales-1'"),
        ("total_trading_income", "a difference of -"),
    ),
    "a line is missing": (
        "financial_weekly.lines_add_up",
        ("DELETE FROM financial_weekly_lines WHERE account_id = 'rent-1' AND week_ending = :week",),
        ("operating_expenses", "a difference of 3000.00"),
    ),
    "a line is in another category": (
        "financial_weekly.lines_add_up",
        (
            "UPDATE financial_weekly_lines SET category = 'cost_of_sales' "
            "WHERE account_id = 'rent-1' AND week_ending = :week",
        ),
        ("operating_expenses", "cost_of_sales", "3000.00"),
    ),
    "the income is changed": (
        "financial_weekly.lines_add_up",
        _update(_TOTALS, "total_trading_income = '5.00'"),
        ("total_trading_income is 5.00",),
    ),
    "the expenses are changed": (
        "financial_weekly.lines_add_up",
        _update(_TOTALS, "operating_expenses = '5.00'"),
        ("operating_expenses is 5.00",),
    ),
    "the gross profit is changed": (
        "financial_weekly.gross_and_net_add_up",
        _update(_TOTALS, "gross_profit = '5.00'"),
        ("gross_profit is 5.00", "total_trading_income - cost_of_sales"),
    ),
    "the net profit is a huge amount": (
        "financial_weekly.gross_and_net_add_up",
        _update(_TOTALS, "net_profit = '7777777.77'"),
        ("net_profit is 7777777.77", "gross_profit + other_income - operating_expenses"),
    ),
    "Xero's report does not add up": (
        "financial_weekly.adds_up_in_xero",
        _partial("profit_and_loss"),
        ("Net Profit", "68822.31", "68822.30", "0.01"),
    ),
    "a line is stored twice": (
        "financial_weekly.no_duplicates",
        (
            f"INSERT INTO financial_weekly_lines SELECT tenant_id, week_ending, 'RENT-1', account_code, account_name, "
            f"account_type, category, amount, {_PROVENANCE_COLUMNS} FROM financial_weekly_lines "
            "WHERE account_id = 'rent-1' AND week_ending = :week",
        ),
        ("'RENT-1' and 'rent-1'", "2 times"),
    ),
    "a week of profit and loss is missing": (
        "financial_weekly.no_gaps",
        _delete(":week", "profit_and_loss", _TOTALS, _LINES),
        ("profit and loss", "no profit and loss of this week has landed"),
    ),
    "the totals of a week are missing": (
        "financial_weekly.no_gaps",
        ("DELETE FROM financial_weekly WHERE week_ending = :week",),
        ("only 0 are left",),
    ),
    "the latest profit and loss is missing": (
        "financial_weekly.fresh",
        _delete(":latest", "profit_and_loss", _TOTALS, _LINES),
        (str(LATEST), "should have landed"),
    ),
    "the expenses are a hundred times larger in every table": (
        "financial_weekly.within_history",
        (
            "UPDATE financial_weekly_lines SET amount = '2500000.00' WHERE account_id = 'wages-1' "
            "AND week_ending = :latest",
            "UPDATE financial_weekly SET operating_expenses = '2503000.00' WHERE week_ending = :latest",
            "UPDATE financial_weekly SET net_profit = gross_profit + other_income - operating_expenses "
            "WHERE week_ending = :latest",
        ),
        (str(LATEST), "operating_expenses is 2503000.00", "12 weeks before"),
    ),
    "a cell's net revenue is changed": (
        "revenue_weekly.net_is_invoiced_less_credited",
        _update(_CELLS, "net_revenue = '5.00'", "revenue_type = 'residential'"),
        ("residential / north", "net_revenue is 5.00"),
    ),
    "the invoiced amount is huge": (
        "revenue_weekly.net_is_invoiced_less_credited",
        _update(_CELLS, "invoiced = '9000000.00'", "revenue_type = 'commercial'"),
        ("commercial / south", "9000000.00 invoiced"),
    ),
    "the credited amount is changed": (
        "revenue_weekly.net_is_invoiced_less_credited",
        _update(_CELLS, "credited = '0.01'", "revenue_type = 'commercial'"),
        ("commercial / south", "0.01 credited"),
    ),
    # The books of these tests have no documents, as if somebody had deleted those that landed.
    "the documents of a week are missing": (
        "revenue_weekly.documents_add_up",
        ("UPDATE xero_sync_logs SET documents = 8 WHERE week_ending = :week AND sync_type = 'invoices'",),
        ("residential / north: invoiced is", "but its documents add up to 0.00"),
    ),
    "a cell has more revenue than the profit and loss, in every column": (
        "revenue_weekly.revenue_matches_income",
        (
            "UPDATE revenue_weekly SET invoiced = '70000.00', credited = '0.00', net_revenue = '70000.00' "
            "WHERE revenue_type = 'residential' AND week_ending = :week",
        ),
        ("revenue is", "a difference of"),
    ),
    "the profit and loss lacks an account with revenue": (
        "revenue_weekly.revenue_accounts_have_income",
        (
            "INSERT INTO financial_weekly_lines SELECT tenant_id, week_ending, 'sales-3', '230', 'Other Sales', "
            f"'REVENUE', 'trading_income', '0.00', {_PROVENANCE_COLUMNS} FROM financial_weekly_lines "
            "WHERE account_id = 'sales-1' AND week_ending = :next",
            "INSERT INTO revenue_by_account SELECT tenant_id, week_ending, '230', '5.00' FROM financial_weekly "
            "WHERE week_ending = :week",
        ),
        ("documents add 5.00 to Other Sales", "no line of this account"),
    ),
    "the profit and loss is not what Xero states for the range": (
        "financial_weekly.matches_xero_totals",
        _leave_over("profit_and_loss", "profit_and_loss"),
        ("Xero states -10.07 for Rent", "add up to -10.00"),
    ),
    "the documents are not those that Xero counts": (
        "revenue_weekly.matches_xero_totals",
        _leave_over("documents", "invoices"),
        ("Xero states",),
    ),
    "the bank summary is not what Xero states for the range": (
        "cash_position_weekly.matches_xero_totals",
        _leave_over("bank_summary", "bank_summary"),
        ("Xero states",),
    ),
    "invoices do not add up in Xero": ("revenue_weekly.adds_up_in_xero", _partial("invoices"), ("Net Profit",)),
    "a cell is stored twice": (
        "revenue_weekly.no_duplicates",
        (
            f"INSERT INTO revenue_weekly SELECT tenant_id, week_ending, ' Residential', region, invoiced, credited, "
            f"net_revenue, tax, invoice_count, credit_note_count, {_PROVENANCE_COLUMNS} FROM revenue_weekly "
            "WHERE revenue_type = 'residential' AND week_ending = :week",
        ),
        ("residential / north", "2 times"),
    ),
    "a week of revenue is missing": (
        "revenue_weekly.no_gaps",
        _delete(":week", "invoices", _CELLS),
        ("no revenue of this week has landed",),
    ),
    "the rows of a week of revenue are missing": (
        "revenue_weekly.no_gaps",
        ("DELETE FROM revenue_weekly WHERE week_ending = :week",),
        ("2 rows of revenue landed, but only 0 are left",),
    ),
    "a cell is missing": (
        "revenue_weekly.no_gaps",
        ("DELETE FROM revenue_weekly WHERE revenue_type = 'residential' AND week_ending = :week",),
        ("2 rows of revenue landed, but only 1 are left",),
    ),
    "the first week of revenue is missing": (
        "revenue_weekly.no_gaps",
        _delete(":first", "invoices", _CELLS),
        ("no revenue of this week has landed",),
    ),
    "the latest revenue is missing": (
        "revenue_weekly.fresh",
        _delete(":latest", "invoices", _CELLS),
        ("revenue", "should have landed"),
    ),
    "revenue of one type is booked as another": (
        "revenue_weekly.within_history",
        (
            "UPDATE revenue_weekly SET invoiced = '1000.00', credited = '0.00', net_revenue = '1000.00' "
            "WHERE revenue_type = 'residential' AND week_ending = :latest",
            "UPDATE revenue_weekly SET credited = '0.00', invoiced = (SELECT total_trading_income - 1000 "
            "FROM financial_weekly WHERE week_ending = :latest), net_revenue = (SELECT total_trading_income - 1000 "
            "FROM financial_weekly WHERE week_ending = :latest) "
            "WHERE revenue_type = 'commercial' AND week_ending = :latest",
        ),
        ("residential: net_revenue is 1000.00", "weeks before"),
    ),
    "a closing balance is changed": (
        "cash_position_weekly.closing_follows_from_opening",
        _update(_CASH, "closing_balance = '5.00'", "bank_account_id = 'bank-2'"),
        ("Dollars", "closing_balance is 5.00"),
    ),
    "the last closing balance is changed": (
        "cash_position_weekly.closing_follows_from_opening",
        _update(_CASH, "closing_balance = '5.00'", "bank_account_id = 'bank-2'", week=":latest"),
        ("Dollars", "closing_balance is 5.00"),
    ),
    "the first opening balance is changed": (
        "cash_position_weekly.closing_follows_from_opening",
        _update(_CASH, "opening_balance = '5.00'", "bank_account_id = 'bank-1'", week=":first"),
        ("Cheque", "opening 5.00"),
    ),
    "the received amount is huge": (
        "cash_position_weekly.closing_follows_from_opening",
        _update(_CASH, "cash_received = '9000000.00'", "bank_account_id = 'bank-1'"),
        ("Cheque", "received 9000000.00"),
    ),
    "a currency gain is a cent more": (
        "cash_position_weekly.closing_follows_from_opening",
        _update(_CASH, "currency_gain = '-1.24'", "bank_account_id = 'bank-2'"),
        ("Dollars", "currency gain -1.24", "a difference of -0.01"),
    ),
    "an opening balance is changed": (
        "cash_position_weekly.opening_is_the_closing_before",
        _update(_CASH, "opening_balance = '5.00'", "bank_account_id = 'bank-1'"),
        ("Cheque", "opening_balance is 5.00", f"week ending {MIDDLE.previous}"),
    ),
    "the last opening balance is changed": (
        "cash_position_weekly.opening_is_the_closing_before",
        _update(_CASH, "opening_balance = '5.00'", "bank_account_id = 'bank-1'", week=":latest"),
        ("Cheque", "opening_balance is 5.00"),
    ),
    "the bank summary does not add up in Xero": (
        "cash_position_weekly.adds_up_in_xero",
        _partial("bank_summary"),
        ("Net Profit",),
    ),
    "an account is stored twice": (
        "cash_position_weekly.no_duplicates",
        (
            f"INSERT INTO cash_position_weekly SELECT tenant_id, week_ending, 'BANK-1', bank_account_name, "
            f"opening_balance, cash_received, cash_spent, currency_gain, closing_balance, {_PROVENANCE_COLUMNS} "
            "FROM cash_position_weekly WHERE bank_account_id = 'bank-1' AND week_ending = :week",
        ),
        ("'BANK-1' and 'bank-1'", "2 times"),
    ),
    "a week of cash is missing": (
        "cash_position_weekly.no_gaps",
        _delete(":week", "bank_summary", _CASH),
        ("no cash position of this week has landed",),
    ),
    "an account of a week is missing": (
        "cash_position_weekly.no_gaps",
        ("DELETE FROM cash_position_weekly WHERE bank_account_id = 'bank-1' AND week_ending = :week",),
        ("2 rows of cash position landed, but only 1 are left",),
    ),
    "the latest cash is missing": (
        "cash_position_weekly.fresh",
        _delete(":latest", "bank_summary", _CASH),
        ("cash position", "should have landed"),
    ),
    "an account received and spent a huge amount": (
        "cash_position_weekly.within_history",
        (
            "UPDATE cash_position_weekly "
            "SET cash_received = cash_received + 5000000, cash_spent = cash_spent + 5000000 "
            "WHERE bank_account_id = 'bank-2' AND week_ending = :latest",
        ),
        ("Dollars: cash_received", "Dollars: cash_spent", "weeks before"),
    ),
}


@pytest.mark.parametrize("description", BREAKS)
def test_a_break_fails_exactly_the_check_that_covers_it(
    description: str, warehouse: Warehouse, settings: Settings
) -> None:
    check, statements, words = BREAKS[description]
    execute_by_hand(warehouse.engine, *statements)

    failures = find_failures(warehouse, settings)

    assert set(failures) == {check}
    failure = failures[check]
    assert f"{NAME}, week ending " in failure
    week = LATEST if ":latest" in statements[-1] else None if ":first" in statements[-1] else MIDDLE
    assert week is None or f"week ending {week}" in failure
    for word in words:
        assert word in failure
    # The checks of a run do not read again what they found in order, so they must notice that it has changed since.
    # Those of severity WARN are about the run's weeks.
    rules = {f"{group.asset}.{rule.name}": rule for group in CHECK_GROUPS for rule in group.rules}
    is_error = rules[check].severity is dg.AssetCheckSeverity.ERROR
    expected = {check} if is_error or week == LATEST else set()
    for _ in range(2):
        in_run = find_failures(warehouse, settings, [LATEST])
        assert set(in_run) == expected
        assert all(in_run[name] == failures[name] for name in expected)


def test_every_check_is_covered_by_a_break() -> None:
    all_checks = {f"{group.asset}.{rule.name}" for group in CHECK_GROUPS for rule in group.rules}
    assert all_checks == {check for check, _, _ in BREAKS.values()}


def test_only_checks_whose_violations_can_be_correct_are_warnings() -> None:
    warnings = {
        rule.name for group in CHECK_GROUPS for rule in group.rules if rule.severity is dg.AssetCheckSeverity.WARN
    }
    assert warnings == {"revenue_matches_income", "revenue_accounts_have_income", "within_history"}
