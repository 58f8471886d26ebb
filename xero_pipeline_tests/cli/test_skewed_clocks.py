"""Syncs by processes whose clocks are an hour ahead, right, or an hour behind, while Xero's clock is right."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from xero_pipeline.clock import SystemClock
from xero_pipeline.connection import ConnectionService
from xero_pipeline.mock_xero import MockOrganisation, MockXero
from xero_pipeline.mock_xero.server import create_mock_app
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline_tests.admin.serving import serve_app
from xero_pipeline_tests.on_request import only_on_request

COMMAND = Path(sys.executable).parent / "xero-pipeline"
LIBRARY = next(
    (
        file
        for folder in ("/usr/lib", "/usr/local/lib", "/opt/homebrew/lib")
        for file in Path(folder).glob("**/faketime/libfaketimeMT.so.1")
    ),
    None,
)
ORGANISATION = MockOrganisation(documents=6)


@pytest.fixture
def xero(tmp_path: Path) -> Iterator[tuple[MockXero, str]]:
    mock = MockXero(tmp_path / "xero-state.db", SystemClock(), organisations=(ORGANISATION,))
    with serve_app(lambda _url: create_mock_app(mock)) as url:
        yield mock, url
    mock.close()


@pytest.fixture
def environment(tmp_path: Path, xero: tuple[MockXero, str]) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "DAGSTER_HOME": str(tmp_path),
        "XERO_CLIENT_ID": "app",
        "XERO_CLIENT_SECRET": "app-secret",
        "XERO_ENCRYPTION_KEY": "5e" * 32,
        "ALLOW_INSECURE": "weak_secrets",
        "XERO_GRANT": "client_credentials",
        "XERO_API_URL": xero[1],
        "XERO_IDENTITY_URL": xero[1],
    }


def run(environment: dict[str, str], *words: str, **more: str) -> None:
    done = subprocess.run(
        [COMMAND, *words],
        cwd=environment["DAGSTER_HOME"],
        env=environment | more,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, f"{words}: {done.stderr}"


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (Debian: apt-get install libfaketime)")
@only_on_request
def test_a_week_is_synced_right_by_processes_whose_clocks_are_ahead_right_and_behind(
    xero: tuple[MockXero, str], environment: dict[str, str]
) -> None:
    mock, _ = xero
    settings = load_settings(env_file=None, **environment)
    week = settings.calendar.find_latest_week(SystemClock().now()).shift(-1)
    with Deployment(settings) as deployment:
        deployment.warehouse.migrate()
        ConnectionService(deployment).connect_custom()
    books = mock.books(ORGANISATION.tenant_id)
    edited = next(document for document in books.documents(week) if document.kind.value == "ACCREC")
    for skew in ("+1h", "+0", "-1h", "+0"):
        mock.edit_invoice(ORGANISATION.tenant_id, edited.id, change=Decimal("1.00"))
        run(environment, "sync", "--week-ending", str(week), LD_PRELOAD=str(LIBRARY), FAKETIME=skew)
        with_key = [bytes.fromhex(environment["XERO_ENCRYPTION_KEY"])]
        warehouse = Warehouse.open(settings.database_url, with_key, SystemClock())
        figures = warehouse.read_week_figures(ORGANISATION.tenant_id, week)
        warehouse.close()
        assert {(row["revenue_type"], row["region"]): row["net_revenue"] for row in figures.revenue} == {
            key: cell.net_revenue for key, cell in books.revenue(week).items()
        }
        assert figures.profit_and_loss is not None
        assert figures.profit_and_loss["net_profit"] == books.profit_and_loss(week).net_profit
