"""`reconcile` as a person types it: a silent edit is found, read again, and printed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from xero_pipeline.cli.main import cli
from xero_pipeline.clock import SystemClock
from xero_pipeline.grants import Connection, ConnectionStatus
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.store import Warehouse
from xero_pipeline.weeks import Week, WeekRange
from xero_pipeline_tests.ledger_xero import RENT, LedgerXero, Posting
from xero_pipeline_tests.servers import ScriptedServer
from xero_pipeline_tests.warehouse.figures.figures_given import NOW, tokens

LATEST = Week(date(2026, 11, 21))
WEEKS = list(WeekRange(LATEST.shift(-5), LATEST))


class Deployed:
    def __init__(self, folder: Path, xero: LedgerXero, url: str) -> None:
        self.xero = xero
        self._environment = {
            "XERO_MOCK_MODE": "false",
            "XERO_CLIENT_ID": "app",
            "XERO_CLIENT_SECRET": "app-secret",
            "XERO_ENCRYPTION_KEY": "5e" * 32,
            "XERO_GRANT": "client_credentials",
            "XERO_API_URL": url,
            "XERO_IDENTITY_URL": url,
            "PIPELINE_START_DATE": "2026-10-01",
            "PIPELINE_TIMEZONE": "UTC",
            "DAGSTER_HOME": str(folder),
        }

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments), env=self._environment)

    def lose(self, name: str) -> None:
        """Store another organisation, to which Xero gives no access any longer."""
        settings = load_settings(**self._environment)
        warehouse = Warehouse.open(settings.database_url, settings.keys, SystemClock())
        warehouse.tokens.save_consent(tokens(), [Connection("connection", "lost", name)], now=NOW)
        warehouse.tokens.set_status("lost", ConnectionStatus.RECONNECT_NEEDED)
        warehouse.close()


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployed]:
    xero = LedgerXero()
    xero.keep_books(WEEKS)
    with pytest.MonkeyPatch.context() as patch, ScriptedServer(xero) as server:
        patch.chdir(tmp_path)
        for name in [name for name in os.environ if name.startswith(("XERO_", "DAGSTER_"))]:
            patch.delenv(name)
        deployed = Deployed(tmp_path, xero, server.url)
        for command in (["migrate"], ["connect"], ["sync", "--from", str(WEEKS[0]), "--to", str(LATEST)]):
            assert deployed.run(*command).exit_code == 0
        yield deployed


def test_a_silent_edit_is_found_and_mended_and_the_status_says_how_far_all_is_proven(deployed: Deployed) -> None:
    deployed.xero.postings.append(Posting(WEEKS[2].start, RENT, Decimal("-1000.00")))
    result = deployed.run("reconcile", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["equal"] is True
    by_kind = {row["kind"]: row for row in answer["reconciliations"]}
    assert {kind: row["status"] for kind, row in by_kind.items()} == {
        "profit_and_loss": "mended",
        "bank_summary": "equal",
        "documents": "equal",
    }
    profit = by_kind["profit_and_loss"]
    assert (profit["firstWeek"], profit["lastWeek"]) == (str(WEEKS[0]), str(LATEST))
    assert profit["stated"] == profit["held"]
    assert (profit["difference"], profit["weeksReadAgain"]) == ("0.00", 1)
    restated = deployed.run("restatements", "--json")
    assert {row["weekEnding"] for row in json.loads(restated.stdout)} == {str(WEEKS[2])}
    printed = deployed.run("reconcile")
    assert printed.exit_code == 0
    assert "equal" in printed.stdout
    assert f"proven up to {LATEST}" in deployed.run("status").stdout


def test_a_difference_that_stays_is_printed_and_ends_with_1(deployed: Deployed) -> None:
    deployed.xero.residue = Decimal("0.07")
    result = deployed.run("reconcile")
    assert result.exit_code == 1
    assert "Rent, contribution: Xero states -330.23, the tables hold -330.30" in result.stdout
    assert "1 block still differs from Xero's totals" in result.stderr
    assert "comparison differs" in deployed.run("status").stdout


def test_a_wrong_range_a_wrong_organisation_and_a_lost_one_are_named(deployed: Deployed) -> None:
    for arguments, message in (
        (["--from", "2026-11-20"], "2026-11-20 is a Friday"),
        (["--from", "2026-11-21", "--to", "2026-11-14"], "--from is after --to"),
        (["--organisation", "nobody"], "nobody"),
        (["--to", "2026-01-03"], "has no stored week in this range"),
    ):
        result = deployed.run("reconcile", *arguments)
        assert result.exit_code != 0, arguments
        assert message in result.stderr, arguments
    deployed.lose("Former Client")
    result = deployed.run("reconcile")
    assert result.exit_code == 1
    assert "Former Client has to be connected again, so it was left out." in result.stderr
    assert "documents" in result.stdout, "the other organisation was compared"
