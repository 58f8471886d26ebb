"""Refreshes do not race and lose no token: many processes of one deployment, against the mock as a server."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from sqlalchemy import update

from xero_pipeline.connection import ConnectionService
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.mock_xero import FaultKind, MockFault, MockLimits, MockOrganisation, MockXero
from xero_pipeline.mock_xero.server import create_mock_app
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.errors import UnknownOrganisation
from xero_pipeline.warehouse.schema import xero_tokens
from xero_pipeline.xero.errors import ReconnectNeeded, XeroUnavailable
from xero_pipeline_tests.admin.serving import serve_app
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.migrated import make_tables
from xero_pipeline_tests.processes import StartedProcess, wait_for_file
from xero_pipeline_tests.xero.refreshing import call_every_organisation, stop_during_refresh

ALPHA, BETA = MockOrganisation("t-1", "Alpha"), MockOrganisation("t-2", "Beta")
# These tests are about the refresh, not about the limits.
NO_LIMITS = MockLimits(per_minute=10_000, per_day=100_000, in_progress=1_000, app_per_minute=100_000)


@dataclass
class Scene:
    """A mock behind HTTP, and a deployment that is connected to both of its organisations."""

    mock: MockXero
    clock: FakeClock
    deployment: Deployment
    settings: dict[str, str]

    def expire_everywhere(self) -> None:
        """Expire the access token at Xero and by its stored date."""
        with self.deployment.warehouse.engine.begin() as connection:
            connection.execute(update(xero_tokens).values(expires_at=self.clock.now() - timedelta(days=3650)))
        self.mock.expire_access_tokens()

    def expire_at_xero_only(self) -> None:
        """Expire the access token at Xero, but not by its stored date: only the 401 shows it."""
        self.mock.expire_access_tokens()

    def count(self, name: str) -> int:
        return self.mock.counters().get(name, 0)

    def read_pairs(self) -> set[tuple[str, str]]:
        """Return the stored pairs of tokens: one, if nothing went wrong."""
        tokens = [self.deployment.warehouse.tokens.load_tokens(tenant) for tenant in ("t-1", "t-2")]
        return {(pair.access_token, pair.refresh_token) for pair in tokens}


def read_accounts(deployment: Deployment, tenant_id: str = "t-1") -> None:
    """Call Xero for that organisation."""
    assert deployment.build_apis(tenant_id).get("Accounts", "get_accounts", tenant_id)


@pytest.fixture
def scene(tmp_path: Path, database_url: str) -> Iterator[Scene]:
    # Every process uses the machine's clock. The mock's clock does not move, so its tokens do not expire.
    clock = FakeClock()
    mock = MockXero(
        tmp_path / "xero.db",
        clock,
        limits=NO_LIMITS,
        organisations=(ALPHA, BETA),
        client=("client-id", "client-secret"),
    )
    with serve_app(lambda _url: create_mock_app(mock)) as url:
        settings = {
            "XERO_MOCK_MODE": "false",
            "XERO_CLIENT_ID": "client-id",
            "XERO_CLIENT_SECRET": "client-secret",
            "XERO_ENCRYPTION_KEY": "4d" * 32,
            "XERO_API_URL": url,
            "XERO_IDENTITY_URL": url,
            "XERO_LOGIN_URL": url,
            "XERO_CALLS_PER_MINUTE": "10000",
            "XERO_CALLS_PER_DAY": "100000",
            "XERO_CONCURRENT_CALLS": "1000",
            "DATABASE_URL": database_url,
            "DAGSTER_HOME": str(tmp_path),
        }
        with Deployment(load_settings(**settings)) as deployment:
            make_tables(deployment.warehouse.engine)
            connections = ConnectionService(deployment)
            redirect = mock.give_consent(connections.begin_consent(browser=None))
            connections.finish_consent(dict(parse_qsl(urlsplit(redirect).query)), browser=None)
            yield Scene(mock, clock, deployment, settings)


@pytest.mark.parametrize(("expiry", "count"), [("expire_everywhere", 30), ("expire_at_xero_only", 10)])
def test_thirty_processes_with_an_expired_token_refresh_exactly_once(scene: Scene, expiry: str, count: int) -> None:
    getattr(scene, expiry)()
    processes = [StartedProcess(call_every_organisation, scene.settings) for _ in range(count)]
    assert [process.wait_for_outcome() for process in processes] == ["ok"] * count
    assert scene.count("refreshes") == 1
    assert scene.count("refreshes_refused") == 0
    assert scene.count("GET /api.xro/2.0/Accounts") >= 2 * count
    assert len(scene.read_pairs()) == 1, "both organisations of the consent have the new pair"


@pytest.mark.parametrize("point", ["before the request", "after the request", "before the commit"])
def test_a_process_that_is_killed_at_any_point_of_a_refresh_blocks_no_other(
    scene: Scene, tmp_path: Path, point: str
) -> None:
    scene.expire_everywhere()
    before = scene.read_pairs()
    marker = tmp_path / "reached"
    holder = StartedProcess(stop_during_refresh, scene.settings, point, marker)
    wait_for_file(marker)
    waiting = [StartedProcess(call_every_organisation, scene.settings) for _ in range(3)]
    holder.kill()
    assert holder.wait_for_outcome() == "SIGKILL"
    assert [process.wait_for_outcome() for process in waiting] == ["ok"] * 3
    assert scene.count("refreshes") == (1 if point == "before the request" else 2)
    assert scene.count("refreshes_refused") == 0
    assert len(scene.read_pairs()) == 1
    assert scene.read_pairs() != before
    organisations = scene.deployment.warehouse.tokens.list_organisations()
    assert {organisation.status for organisation in organisations} == {ConnectionStatus.CONNECTED}


def test_many_threads_of_one_process_refresh_once(scene: Scene) -> None:
    scene.expire_at_xero_only()
    failures: list[Exception] = []
    barrier = threading.Barrier(16)

    def call(tenant_id: str) -> None:
        barrier.wait()
        try:
            read_accounts(scene.deployment, tenant_id)
        except Exception as error:  # noqa: BLE001 - asserted below
            failures.append(error)

    threads = [threading.Thread(target=call, args=(f"t-{1 + number % 2}",)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert scene.count("refreshes") == 1


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.CUT])
def test_a_lost_answer_is_requested_again_with_the_old_token(scene: Scene, kind: FaultKind) -> None:
    scene.expire_everywhere()
    scene.mock.add_fault(MockFault(kind, method="POST", path="/connect/token", handled=True))
    with Deployment(scene.deployment.settings, clock=scene.clock) as deployment:
        read_accounts(deployment)
    assert scene.count("refreshes") == 2, "Xero accepted the old token twice"
    assert len(scene.read_pairs()) == 1
    read_accounts(scene.deployment, "t-2")


def test_when_every_answer_is_lost_the_old_token_still_works(scene: Scene) -> None:
    scene.expire_everywhere()
    before = scene.read_pairs()
    scene.mock.add_fault(MockFault(FaultKind.DROP, method="POST", path="/connect/token", handled=True, times=3))
    with Deployment(scene.deployment.settings, clock=scene.clock) as deployment:
        with pytest.raises(XeroUnavailable):
            read_accounts(deployment)
        assert scene.read_pairs() == before
        assert deployment.warehouse.tokens.get_organisation("t-1").status is ConnectionStatus.CONNECTED
        # The next call sends the old token again.
        read_accounts(deployment)


def test_a_refused_refresh_token_is_never_sent_again(scene: Scene) -> None:
    scene.expire_everywhere()
    scene.mock.revoke_all()
    for _ in range(3):
        for tenant_id in ("t-1", "t-2"):
            with pytest.raises(ReconnectNeeded, match="xero-pipeline connect"):
                read_accounts(scene.deployment, tenant_id)
    assert scene.count("refreshes_refused") == 1
    assert scene.count("POST /connect/token") == 2, "the exchange of the code, and one refresh"
    statuses = {organisation.status for organisation in scene.deployment.warehouse.tokens.list_organisations()}
    assert statuses == {ConnectionStatus.RECONNECT_NEEDED}, "the consent has ended for both organisations"


def test_a_new_consent_restores_an_ended_connection(scene: Scene) -> None:
    scene.mock.revoke_all()
    with pytest.raises(ReconnectNeeded):
        read_accounts(scene.deployment)
    connections = ConnectionService(scene.deployment)
    redirect = scene.mock.give_consent(connections.begin_consent(browser=None))
    connections.finish_consent(dict(parse_qsl(urlsplit(redirect).query)), browser=None)
    for tenant_id in ("t-1", "t-2"):
        read_accounts(scene.deployment, tenant_id)


def test_connecting_again_during_a_refresh_fails_no_call(scene: Scene) -> None:
    scene.expire_everywhere()
    connections = ConnectionService(scene.deployment)

    def connect_again() -> None:
        redirect = scene.mock.give_consent(connections.begin_consent(browser=None))
        connections.finish_consent(dict(parse_qsl(urlsplit(redirect).query)), browser=None)

    grant = scene.deployment.warehouse.tokens.get_organisation("t-1").grant_id
    run_during_next_refresh(scene.deployment, connect_again)
    read_accounts(scene.deployment)
    assert scene.deployment.warehouse.tokens.get_organisation("t-1").grant_id != grant
    assert len(scene.read_pairs()) == 1
    read_accounts(scene.deployment, "t-2")


def test_disconnecting_during_a_refresh_fails_the_call_with_a_clear_error(scene: Scene) -> None:
    scene.expire_everywhere()
    tokens = scene.deployment.warehouse.tokens
    grant = tokens.get_organisation("t-1").grant_id
    run_during_next_refresh(scene.deployment, lambda: tokens.forget_grant(grant))
    with pytest.raises(UnknownOrganisation, match="t-1 is connected"):
        read_accounts(scene.deployment)
    assert tokens.list_organisations() == []


def run_during_next_refresh(deployment: Deployment, action: Callable[[], None]) -> None:
    """Run the action when Xero has answered the next refresh and the new pair is not saved yet."""
    sign_in: Any = deployment.sign_in
    refresh = sign_in.refresh

    def refresh_and_run(tokens: Any) -> Any:
        sign_in.refresh = refresh
        fresh = refresh(tokens)
        action()
        return fresh

    sign_in.refresh = refresh_and_run
