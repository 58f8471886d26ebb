"""The checks of the months, each broken by hand."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import text

from xero_pipeline.assets.month_checks import MONTH_CHECKS, evaluate_month_checks
from xero_pipeline.periods import Month
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.deployment import RunningDeployment, run_deployment

OCTOBER = Month(date(2026, 10, 31))


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDeployment]:
    """Three months, with their checks."""
    folder: Path = tmp_path_factory.mktemp("months")
    with run_deployment(folder, PIPELINE_START_DATE="2026-08-01") as deployed:
        assert deployed.sync_months(OCTOBER.shift(-2), OCTOBER).success
        yield deployed


def find_failing(warehouse: Warehouse) -> dict[str, str]:
    return {
        f"{asset}.{name}": violations[0].sentence
        for asset in MONTH_CHECKS
        for name, violations in evaluate_month_checks(asset, warehouse).items()
        if violations
    }


BROKEN = {
    "financial_monthly.lines_add_up": "UPDATE financial_monthly SET cost_of_sales = '1.00', gross_profit = '1.00'",
    "financial_monthly.gross_and_net_add_up": "UPDATE financial_monthly SET net_profit = '0.01'",
    "financial_monthly.no_gaps": "DELETE FROM financial_monthly WHERE month_ending = '2026-09-30'",
    "financial_monthly.no_duplicates": "INSERT INTO financial_monthly_lines SELECT tenant_id, month_ending, "
    "upper(account_id) || ' ', account_code, account_name, account_type, category, '0.00', data_source, currency, "
    "updated_at FROM financial_monthly_lines WHERE month_ending = '2026-09-30' LIMIT 1",
    "financial_monthly.adds_up_in_xero": "UPDATE xero_sync_logs SET status = 'partial' "
    "WHERE sync_type = 'profit_and_loss_monthly' AND week_ending = '2026-10-31'",
    "cash_position_monthly.closing_follows_from_opening": "UPDATE cash_position_monthly SET cash_spent = '0.02' "
    "WHERE month_ending = '2026-10-31'",
    "cash_position_monthly.opening_is_the_closing_before": "UPDATE cash_position_monthly SET cash_received = '0.00', "
    "cash_spent = '0.00', currency_gain = '0.00', opening_balance = '7.00', closing_balance = '7.00' "
    "WHERE month_ending = '2026-10-31'",
    "cash_position_monthly.no_gaps": "DELETE FROM cash_position_monthly WHERE month_ending = '2026-09-30'",
    "cash_position_monthly.no_duplicates": "INSERT INTO cash_position_monthly SELECT tenant_id, month_ending, "
    "upper(bank_account_id) || ' ', bank_account_name, '0.00', '0.00', '0.00', '0.00', '0.00', data_source, currency, "
    "updated_at FROM cash_position_monthly WHERE month_ending = '2026-08-31' LIMIT 1",
    "cash_position_monthly.adds_up_in_xero": "UPDATE xero_sync_logs SET status = 'partial' "
    "WHERE sync_type = 'bank_summary_monthly' AND week_ending = '2026-10-31'",
}


def test_every_check_of_the_months_passes_on_what_landed_and_is_named_here(deployed: RunningDeployment) -> None:
    assert find_failing(deployed.warehouse) == {}
    assert BROKEN.keys() == {f"{asset}.{check.name}" for asset, checks in MONTH_CHECKS.items() for check in checks}


@pytest.mark.parametrize("check", BROKEN)
def test_a_month_that_is_broken_by_hand_fails_its_check(deployed: RunningDeployment, check: str) -> None:
    warehouse = deployed.warehouse
    tables = ("financial_monthly", "financial_monthly_lines", "cash_position_monthly", "xero_sync_logs")
    with warehouse.engine.begin() as connection:
        for table in tables:
            connection.execute(text(f"CREATE TABLE kept_{table} AS SELECT * FROM {table}"))
        connection.execute(text(BROKEN[check]))
    try:
        failing = find_failing(warehouse)
        assert check in failing
        assert "week" not in failing[check]
    finally:
        with warehouse.engine.begin() as connection:
            for table in tables:
                connection.execute(text(f"DELETE FROM {table}"))
                connection.execute(text(f"INSERT INTO {table} SELECT * FROM kept_{table}"))
                connection.execute(text(f"DROP TABLE kept_{table}"))


def test_dagster_shows_what_is_wrong_with_which_month(deployed: RunningDeployment) -> None:
    with deployed.warehouse.engine.begin() as connection:
        connection.execute(
            text("UPDATE cash_position_monthly SET cash_spent = '0.02' WHERE month_ending = '2026-10-31'")
        )
    result = deployed.run_checks(
        ("cash_position_monthly", "closing_follows_from_opening"), ("financial_monthly", "no_gaps")
    )
    evaluations = {one.check_name: one for one in result.get_asset_check_evaluations()}
    assert evaluations["no_gaps"].passed
    failed = evaluations["closing_follows_from_opening"]
    assert not failed.passed
    assert "month ending 2026-10-31" in (failed.description or "")
