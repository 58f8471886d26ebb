"""What every column means is said once, and PostgreSQL, the documentation and the example queries agree with it."""

from __future__ import annotations

import importlib.util
import re
from datetime import date
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, select, text

from xero_pipeline.warehouse import schema
from xero_pipeline.warehouse.data_dictionary import INTERNAL, TABLES, VIEWS, describe_table
from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.database.migrating import VERSION_TABLE, migrate
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.warehouse.figures.figures_given import (
    NOW,
    account,
    cash,
    document,
    documented_revenue,
    land_cash,
    land_profit,
    land_revenue,
    line,
    opened,
    profit,
    tokens,
)

DOCS = Path(__file__).parents[2] / "docs"


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("data_dictionary_page", DOCS / "data_dictionary.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_dictionary_says() -> None:
    page = (DOCS / "data-dictionary.md").read_text(encoding="utf-8")
    assert page == load_generator().describe(), "run: python docs/data_dictionary.py"


def test_every_table_view_and_column_of_postgresql_has_its_comment(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    migrate(engine)
    assert find_missing_comments(engine) == []
    # What somebody else has written is put right, and a second migration has nothing left to write.
    with engine.begin() as connection:
        connection.execute(text("COMMENT ON COLUMN revenue_weekly.tax IS 'wrong'"))
    migrate(engine)
    assert find_missing_comments(engine) == []
    engine.dispose()


def find_missing_comments(engine: Engine) -> list[str]:
    inspector = inspect(engine)
    names = {*inspector.get_table_names(), *inspector.get_view_names()} - {VERSION_TABLE}
    assert names == {*TABLES, *VIEWS, *INTERNAL}
    missing = []
    for name in names:
        doc = describe_table(name)
        if inspector.get_table_comment(name)["text"] != doc.meaning:
            missing.append(name)
        for column in inspector.get_columns(name):
            if column["comment"] != doc.columns[column["name"]].meaning:
                missing.append(f"{name}.{column['name']}")
    return missing


@pytest.fixture
def landed(warehouse: Warehouse) -> Warehouse:
    """Two organisations, of which one was disconnected after its figures had landed."""
    warehouse.tokens.save_consent(tokens(), opened("org-1", "org-2"), now=NOW)
    facts = {"Name": "Organisation org-2", "BaseCurrency": "NZD", "CountryCode": "NZ"}
    year = {"FinancialYearEndDay": "31", "FinancialYearEndMonth": "3"}
    warehouse.facts.save("org-2", "Organisation", {"Organisations": [facts | year]}, NOW)
    for tenant in ("org-1", "org-2"):
        land_profit(warehouse, profit("90.00", line("sales", "90.00")), tenant_id=tenant)
        cell = ("commercial", "north")
        documents = [document("a", "60.10", "30.20", cell=cell), document("b", "5.10", credit=True, cell=cell)]
        land_revenue(warehouse, documented_revenue(*documents), tenant_id=tenant)
        land_cash(warehouse, cash(account("bank-1", "12.50")), tenant_id=tenant)
    with warehouse.engine.begin() as connection:
        connection.execute(text("DELETE FROM xero_tokens WHERE tenant_id = 'org-2'"))
    return warehouse


def test_the_organisations_are_listed_without_tokens_also_after_they_were_disconnected(landed: Warehouse) -> None:
    with landed.engine.connect() as connection:
        rows = {row.tenant_id: row for row in connection.execute(select(schema.organisations))}
        columns = list(connection.execute(text("SELECT * FROM organisations")).keys())
        names = connection.execute(select(schema.weekly_summary.c.tenant_id, schema.weekly_summary.c.tenant_name)).all()
    assert columns == list(schema.organisations.columns.keys())
    assert {tenant: row.status for tenant, row in rows.items()} == {"org-1": "connected", "org-2": "disconnected"}
    gone = rows["org-2"]
    assert (gone.tenant_name, gone.base_currency, gone.country) == ("Organisation org-2", "NZD", "NZ")
    assert (gone.financial_year_end, gone.connected_at) == ("03-31", None)
    assert gone.last_sync_at == rows["org-1"].last_sync_at == landed.clock.now()
    assert rows["org-1"].connected_at == NOW
    assert dict(map(tuple, names)) == {"org-1": "Organisation org-1", "org-2": "Organisation org-2"}


def list_queries() -> list[str]:
    return re.findall(r"```sql\n(.*?)```", (DOCS / "queries.md").read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_ten_example_queries_answer_on_both_databases(landed: Warehouse) -> None:
    queries = list_queries()
    assert len(queries) == 10
    is_sqlite = landed.engine.dialect.name == "sqlite"
    answers: list[list[Any]] = []
    with landed.engine.connect() as connection:
        for query in queries:
            statement = query if is_sqlite else query.replace("_numeric", "")
            answers.append([tuple(row) for row in connection.execute(text(statement)).all()])
    exact = [Decimal(str(row[3])) for row in answers[2]]
    assert exact == [Decimal("90.3"), Decimal("90.3"), Decimal("5.1"), Decimal("5.1")]
    assert [Decimal(str(row[3])) for row in answers[3]] == [Decimal("170.4")]
    assert answers[5][0][3] == 0
    assert [len(answer) for answer in answers] == [2, 2, 4, 1, 1, 2, 0, 2, 0, 0]


def test_the_numeric_views_have_every_column_of_their_tables_as_numbers(sqlite_warehouse: Warehouse) -> None:
    land_revenue(sqlite_warehouse, documented_revenue(document("a", "60.10")))
    inspector = inspect(sqlite_warehouse.engine)
    views = [name for name in inspector.get_view_names() if name.endswith("_numeric")]
    assert len(views) == 10
    for view in views:
        table = view.removesuffix("_numeric")
        columns = {column["name"] for column in inspector.get_columns(table)}
        assert {column["name"] for column in inspector.get_columns(view)} == columns
    with sqlite_warehouse.engine.connect() as connection:
        row = connection.execute(text("SELECT net, typeof(net), week_ending FROM revenue_documents_numeric")).one()
    assert tuple(row) == (60.1, "real", date(2026, 11, 21).isoformat())
