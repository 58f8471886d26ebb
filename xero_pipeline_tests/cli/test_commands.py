"""The commands as a person types them: what they print, how they end, and what they leave alone."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from xero_pipeline.cli.main import cli
from xero_pipeline.dagster_home import open_instance
from xero_pipeline.grants import Connection, ConnectionStatus
from xero_pipeline.resources import Deployment
from xero_pipeline.run_liveness import WORKER_TAG
from xero_pipeline.settings import load_settings
from xero_pipeline.weeks import Week
from xero_pipeline_tests.automation.scene import launch_run
from xero_pipeline_tests.cli.conftest import one_line
from xero_pipeline_tests.plain_xero import TENANT, PlainXero, report_route
from xero_pipeline_tests.servers import Answer, ScriptedServer, SeenRequest
from xero_pipeline_tests.test_samples import load_sample

LATEST = ["sync", "--week-ending", "2026-11-21"]


class Deployed:
    """A folder with a deployment whose Xero is a plain server."""

    def __init__(self, folder: Path, xero: PlainXero, url: str) -> None:
        self.folder = folder
        self.xero = xero
        self.environment = {
            "XERO_MOCK_MODE": "false",
            "XERO_CLIENT_ID": "app",
            "XERO_CLIENT_SECRET": "app-secret",
            "XERO_ENCRYPTION_KEY": "5e" * 32,
            "XERO_GRANT": "client_credentials",
            "XERO_API_URL": url,
            "XERO_IDENTITY_URL": url,
            "PIPELINE_START_DATE": "2026-10-01",
            "DAGSTER_HOME": str(folder),
        }

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments), env=self.environment)

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.folder / "data" / "xero.db")) as database:
            return database.execute(query).fetchall()


@contextmanager
def deployment_in(folder: Path) -> Iterator[Deployed]:
    xero = PlainXero(
        ProfitAndLoss=report_route(load_sample("profit_and_loss_au")),
        BankSummary=report_route(load_sample("bank_summary")),
    )
    with pytest.MonkeyPatch.context() as patch, ScriptedServer(xero) as server:
        patch.chdir(folder)
        for name in [name for name in os.environ if name.startswith(("XERO_", "DAGSTER_"))]:
            patch.delenv(name)
        yield Deployed(folder, xero, server.url)


@pytest.fixture
def deployed(tmp_path: Path) -> Iterator[Deployed]:
    with deployment_in(tmp_path) as deployed:
        yield deployed


@pytest.fixture
def connected(deployed: Deployed) -> Deployed:
    assert deployed.run("migrate").exit_code == 0
    assert deployed.run("connect").exit_code == 0
    return deployed


@pytest.fixture(scope="module")
def synced_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """A folder in which the latest week was synced, and what the command said."""
    folder = tmp_path_factory.mktemp("synced")
    with deployment_in(folder) as deployed:
        for command in (["migrate"], ["connect"]):
            assert deployed.run(*command).exit_code == 0
        return folder, deployed.run(*LATEST, "--json")


@pytest.fixture
def synced(synced_once: tuple[Path, Result], tmp_path: Path) -> Iterator[Deployed]:
    """A copy of that folder."""
    folder = tmp_path / "copy"
    shutil.copytree(synced_once[0], folder)
    with deployment_in(folder) as deployed:
        yield deployed


def test_a_week_is_synced_and_its_figures_are_printed(connected: Deployed) -> None:
    result = connected.run(*LATEST)
    assert result.exit_code == 0, result.output
    assert "2026-11-21" in result.stdout
    assert "230,450.05" in result.stdout
    assert "10.00" in result.stdout


def test_json_holds_the_run_each_week_and_each_log_row_with_exact_amounts(synced_once: tuple[Path, Result]) -> None:
    printed = json.loads(synced_once[1].stdout)
    (week,) = printed["weeks"]
    assert (week["weekEnding"], week["tenantId"], week["status"]) == ("2026-11-21", TENANT, "success")
    assert (week["grossProfit"], week["closingCash"]) == ("161101.83", "10.00")
    assert {entry["syncType"] for entry in printed["logs"]} == {"profit_and_loss", "invoices", "bank_summary"}
    assert {entry["dagsterRunId"] for entry in printed["logs"]} == {printed["runId"]}


def test_a_failed_week_ends_with_one_line_and_the_others_land_all_the_same(connected: Deployed) -> None:
    good = report_route(load_sample("profit_and_loss_au"))
    connected.xero.routes["ProfitAndLoss"] = lambda request: (
        Answer(400, json={"Message": "No such report"}) if "2026-11-14" in request.query["toDate"] else good(request)
    )
    result = connected.run("sync", "--from", "2026-11-07", "--to", "2026-11-21")
    error = one_line(result)
    assert "2026-11-14" in error
    assert "No such report" in error
    landed = connected.rows("SELECT week_ending FROM financial_weekly ORDER BY 1")
    assert landed == [("2026-11-07",), ("2026-11-21",)]
    assert connected.rows("SELECT count(*) FROM xero_sync_logs WHERE status = 'failed'") == [(1,)]
    assert connected.rows("SELECT count(*) FROM xero_sync_logs WHERE status = 'success'") == [(8,)]


def test_syncing_again_changes_no_figure(synced: Deployed) -> None:
    everything = "SELECT * FROM {0} ORDER BY 1, 2, 3"
    tables = ["financial_weekly", "financial_weekly_lines", "revenue_weekly", "cash_position_weekly", "restatements"]
    before = [synced.rows(everything.format(table)) for table in tables]
    assert synced.run(*LATEST).exit_code == 0
    assert [synced.rows(everything.format(table)) for table in tables] == before


def test_the_next_sync_ends_what_a_killed_one_left_open(synced: Deployed) -> None:
    with Deployment(load_settings(**synced.environment)) as opened, open_instance(opened.settings) as instance:
        killed = launch_run(instance, tags={WORKER_TAG: "a-machine/1"})
        opened.warehouse.log.start(TENANT, "bank_summary", Week(date(2026, 10, 31)), killed.run_id)
    assert synced.run(*LATEST).exit_code == 0
    assert synced.rows("SELECT status FROM xero_sync_logs WHERE week_ending = '2026-10-31'") == [("failed",)]
    assert synced.rows("SELECT count(*) FROM xero_sync_logs WHERE status = 'running'") == [(0,)]
    with open_instance(load_settings(**synced.environment)) as instance:
        ended = instance.get_run_by_id(killed.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sync", "--week-ending", "2026-11-20"], "2026-11-20 is a Friday"),
        (["sync", "--week-ending", "2099-01-03"], "is not over yet"),
        (["sync", "--week-ending", "2020-01-04"], "lies before the first one"),
        (["sync", "--organisation", "nobody"], "No organisation with the id nobody is connected"),
        (["disconnect", "--organisation", "nobody"], "No organisation with the id nobody is connected"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_changes_nothing(
    connected: Deployed, arguments: list[str], says: str
) -> None:
    assert says in one_line(connected.run(*arguments))
    assert connected.rows("SELECT count(*) FROM xero_sync_logs") == [(0,)]
    assert connected.rows("SELECT count(*) FROM xero_tokens") == [(1,)]


@pytest.mark.parametrize(
    "arguments",
    [
        ["sync", "--week-ending", "yesterday"],
        ["sync", "--weeks", "0"],
        ["sync", "--weeks", "2", "--week-ending", "2026-11-21"],
        ["sync", "--from", "2026-11-21"],
        ["sync", "--from", "2026-11-21", "--to", "2026-11-14"],
        ["logs", "--limit", "none"],
        ["nonsense"],
    ],
)
def test_wrong_usage_ends_with_2(connected: Deployed, arguments: list[str]) -> None:
    assert connected.run(*arguments).exit_code == 2


@pytest.mark.parametrize("command", ["sync", "connect", "status", "logs", "disconnect", "restatements"])
def test_a_database_that_was_not_migrated_is_one_line(deployed: Deployed, command: str) -> None:
    assert "xero-pipeline migrate" in one_line(deployed.run(command))
    assert not (deployed.folder / "data" / "xero.db").exists()


def test_without_a_connection_a_sync_is_one_line(deployed: Deployed) -> None:
    deployed.run("migrate")
    assert "xero-pipeline connect" in one_line(deployed.run("sync"))


def test_an_organisation_that_is_gone_fails_no_sync_and_a_line_says_that_it_is_left_out(connected: Deployed) -> None:
    with Deployment(load_settings(**connected.environment)) as opened:
        tokens = opened.warehouse.tokens
        tokens.save_consent(tokens.load_tokens(TENANT), [Connection("c-2", "gone", "Demo")], now=opened.clock.now())
        tokens.set_status("gone", ConnectionStatus.RECONNECT_NEEDED)
    result = connected.run(*LATEST)
    assert result.exit_code == 0, result.output
    assert "left out: Demo (gone) has to be connected again. " in result.stderr
    assert "`xero-pipeline disconnect --organisation gone`" in result.stderr
    assert f"Demo ({TENANT})" in "".join(result.stdout.split("│"))
    assert "disconnect --organisation gone" in connected.run("status").stdout
    assert f"Demo ({TENANT})" in connected.run("logs").stdout
    assert "Demo (gone) is no longer connected to Xero." in one_line(connected.run("sync", "--organisation", "gone"))
    connected.xero.routes["c-2"] = Answer(400, body="not now")
    result = connected.run("disconnect", "--organisation", "gone")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("disconnected Demo (gone) here: its tokens are deleted. Xero did not confirm it: ")
    assert "left out" not in connected.run(*LATEST).stderr


def test_status_tells_who_is_connected_and_what_is_left(synced: Deployed) -> None:
    told = json.loads(synced.run("status", "--json").stdout)
    assert (told["connected"], told["mockMode"], told["schedulerRunning"]) == (True, False, False)
    (organisation,) = told["organisations"]
    assert organisation["callsToday"] == 6
    assert organisation["callsLeftToday"] == 4794
    assert organisation["refreshTokenDaysLeft"] is None
    assert organisation["lastSyncAt"] is not None
    assert "Demo" in synced.run("status").stdout


def test_the_log_is_told_newest_first(synced: Deployed) -> None:
    told = json.loads(synced.run("logs", "--limit", "2", "--json").stdout)
    assert [entry["status"] for entry in told] == ["success", "success"]
    assert told[0]["startedAt"] >= told[1]["startedAt"]
    assert "bank_summary" in synced.run("logs").stdout


def test_disconnecting_forgets_the_tokens_and_keeps_the_figures(synced: Deployed) -> None:
    synced.xero.routes["c-1"] = Answer(204)
    assert synced.run("disconnect").exit_code == 0
    assert synced.rows("SELECT count(*) FROM xero_tokens") == [(0,)]
    assert synced.rows("SELECT count(*) FROM financial_weekly") == [(1,)]
    assert "nothing was connected" in synced.run("disconnect").stdout


def test_an_edited_week_is_listed_as_restated(synced: Deployed) -> None:
    report = load_sample("profit_and_loss_au")
    rows = report["Reports"][0]["Rows"]
    rows[1]["Rows"][1]["Cells"][1]["Value"] = "83409.00"
    rows[1]["Rows"][3]["Cells"][1]["Value"] = "230449.05"
    rows[3]["Rows"][0]["Cells"][1]["Value"] = "161100.83"
    rows[7]["Rows"][0]["Cells"][1]["Value"] = "68821.30"
    synced.xero.routes["ProfitAndLoss"] = report_route(report)
    assert synced.run(*LATEST).exit_code == 0
    told = json.loads(synced.run("restatements", "--json").stdout)
    assert {"table", "key", "column", "old", "new", "when"} <= told[0].keys()
    assert {(one["column"], one["old"], one["new"]) for one in told} == {
        ("total_trading_income", "230450.05", "230449.05"),
        ("gross_profit", "161101.83", "161100.83"),
        ("net_profit", "68822.30", "68821.30"),
        ("amount", "83410.00", "83409.00"),
    }
    assert "Commercial sales" in synced.run("restatements").stdout
    assert json.loads(synced.run("restatements", "--since", "2099-01-01", "--json").stdout) == []


def test_an_organisation_without_a_name_in_xeros_list_is_called_as_it_calls_itself(deployed: Deployed) -> None:
    deployed.xero.routes["connections"] = [{"id": "c-1", "tenantId": TENANT, "tenantType": "ORGANISATION"}]
    deployed.run("migrate")
    assert f"connected Demo ({TENANT})" in deployed.run("connect").stdout
    deployed.xero.routes["Organisation"] = Answer(404)
    assert f"connected {TENANT} ({TENANT})" in deployed.run("connect").stdout


def test_a_client_secret_that_is_refused_is_not_sent_again_for_every_week(deployed: Deployed) -> None:
    # So near its end that it is renewed before its first use.
    deployed.xero.routes["token"] = {"access_token": "short-lived", "expires_in": 60, "token_type": "Bearer"}
    deployed.run("migrate")
    deployed.run("connect")
    asked: list[str] = []

    def refuse(request: SeenRequest) -> Answer:
        asked.append(request.path)
        return Answer(401, json={"error": "invalid_client"})

    deployed.xero.routes["token"] = refuse
    error = one_line(deployed.run("sync", "--weeks", "4"))
    assert "12 syncs failed" in error
    assert "XERO_CLIENT_ID and XERO_CLIENT_SECRET" in error
    assert len(asked) == 1


def test_wrong_client_credentials_name_the_settings(deployed: Deployed) -> None:
    deployed.run("migrate")
    deployed.xero.routes["token"] = Answer(401, json={"error": "invalid_client"})
    error = one_line(deployed.run("connect"))
    assert "XERO_CLIENT_ID and XERO_CLIENT_SECRET" in error
    assert "app-secret" not in error


def test_help_names_every_command_with_what_it_does() -> None:
    listed = CliRunner().invoke(cli, ["--help"]).stdout.partition("Commands:\n")[2].strip().splitlines()
    named = dict(line.strip().split(maxsplit=1) for line in listed)
    assert " ".join(named) == (
        "accept access admin audit backup connect dev digest disconnect explain export lockdown logs migrate mock-xero "
        "reconcile restatements restore rotate-key status sync"
    )
