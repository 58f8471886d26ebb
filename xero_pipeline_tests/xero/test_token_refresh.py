"""Refreshing cannot race, and loses nothing: many processes on one deployment, before the mock as a server."""

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
from xero_pipeline.mock_xero.server import mock_app
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.warehouse.errors import UnknownOrganisation
from xero_pipeline.warehouse.schema import xero_tokens
from xero_pipeline.xero.errors import ReconnectNeeded, XeroUnavailable
from xero_pipeline_tests.admin.serving import serving
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.migrated import make_tables
from xero_pipeline_tests.processes import Started, appears
from xero_pipeline_tests.xero.refreshing import call_every_organisation, stand_still

ALPHA, BETA = MockOrganisation("t-1", "Alpha"), MockOrganisation("t-2", "Beta")
PROCESSES = 30
# Only the refresh is looked at here, not the limits.
NO_LIMITS = MockLimits(per_minute=10_000, per_day=100_000, in_progress=1_000, app_per_minute=100_000)


@dataclass
class World:
    """A mock behind HTTP, and a deployment of a real app that is connected to both its organisations."""

    mock: MockXero
    clock: FakeClock
    deployment: Deployment
    settings: dict[str, str]

    def expire_by_date(self) -> None:
        """The access token is over, and we can tell by its date."""
        with self.deployment.warehouse.engine.begin() as connection:
            connection.execute(update(xero_tokens).values(expires_at=self.clock.now() - timedelta(days=3650)))
        self.mock.expire_access_tokens()

    def expire_by_xeros_word(self) -> None:
        """The access token is over, though its date says otherwise: Xero's 401 tells."""
        self.mock.expire_access_tokens()

    def count(self, name: str) -> int:
        return self.mock.counters().get(name, 0)

    def pairs(self) -> set[tuple[str, str]]:
        """The pairs of tokens that are kept: one, if all is well."""
        tokens = [self.deployment.warehouse.tokens.tokens(tenant) for tenant in ("t-1", "t-2")]
        return {(one.access_token, one.refresh_token) for one in tokens}


def read_accounts(deployment: Deployment, tenant_id: str = "t-1") -> None:
    """A call to Xero, signed in as that organisation."""
    assert deployment.apis(tenant_id).get("Accounts", "get_accounts", tenant_id)


@pytest.fixture
def world(tmp_path: Path, database_url: str) -> Iterator[World]:
    # Every process has the machine's own clock; the mock's stands still, far from its tokens' end.
    clock = FakeClock()
    mock = MockXero(
        tmp_path / "xero.db",
        clock,
        limits=NO_LIMITS,
        organisations=(ALPHA, BETA),
        client=("client-id", "client-secret"),
    )
    with serving(lambda _url: mock_app(mock)) as url:
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
            connector = ConnectionService(deployment)
            back = mock.give_consent(connector.begin(browser=None))
            connector.finish(dict(parse_qsl(urlsplit(back).query)), browser=None)
            yield World(mock, clock, deployment, settings)


@pytest.mark.parametrize("how", ["expire_by_date", "expire_by_xeros_word"])
def test_thirty_processes_with_an_expired_token_refresh_exactly_once(world: World, how: str) -> None:
    getattr(world, how)()
    processes = [Started(call_every_organisation, world.settings) for _ in range(PROCESSES)]
    assert [process.outcome() for process in processes] == ["ok"] * PROCESSES
    assert world.count("refreshes") == 1
    assert world.count("refreshes_refused") == 0
    assert world.count("GET /api.xro/2.0/Accounts") >= 2 * PROCESSES
    assert len(world.pairs()) == 1, "both organisations of the consent hold the new pair"


@pytest.mark.parametrize("point", ["before the request", "after the request", "before the commit"])
def test_whoever_refreshes_may_be_killed_at_any_point_and_the_next_one_connects(
    world: World, tmp_path: Path, point: str
) -> None:
    world.expire_by_date()
    before = world.pairs()
    marker = tmp_path / "reached"
    holder = Started(stand_still, world.settings, point, marker)
    appears(marker)
    waiting = [Started(call_every_organisation, world.settings) for _ in range(3)]
    holder.kill()
    assert holder.outcome() == "SIGKILL"
    assert [process.outcome() for process in waiting] == ["ok"] * 3
    assert world.count("refreshes") == (1 if point == "before the request" else 2)
    assert world.count("refreshes_refused") == 0
    assert len(world.pairs()) == 1
    assert world.pairs() != before
    organisations = world.deployment.warehouse.tokens.organisations()
    assert {one.status for one in organisations} == {ConnectionStatus.CONNECTED}


def test_many_threads_of_one_process_refresh_once(world: World) -> None:
    world.expire_by_xeros_word()
    failures: list[Exception] = []
    together = threading.Barrier(16)

    def call(tenant_id: str) -> None:
        together.wait()
        try:
            read_accounts(world.deployment, tenant_id)
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=call, args=(f"t-{1 + number % 2}",)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert world.count("refreshes") == 1


@pytest.mark.parametrize("kind", [FaultKind.DROP, FaultKind.CUT])
def test_an_answer_that_was_lost_on_the_way_is_asked_for_again_with_the_old_token(
    world: World, kind: FaultKind
) -> None:
    world.expire_by_date()
    world.mock.add_fault(MockFault(kind, method="POST", path="/connect/token", handled=True))
    impatient = Deployment(world.deployment.settings, clock=world.clock)
    with impatient:
        read_accounts(impatient)
    assert world.count("refreshes") == 2, "Xero took the old token twice"
    assert len(world.pairs()) == 1
    read_accounts(world.deployment, "t-2")


def test_when_every_answer_is_lost_nothing_is_lost_with_it(world: World) -> None:
    world.expire_by_date()
    before = world.pairs()
    world.mock.add_fault(MockFault(FaultKind.DROP, method="POST", path="/connect/token", handled=True, times=3))
    with Deployment(world.deployment.settings, clock=world.clock) as deployment:
        with pytest.raises(XeroUnavailable):
            read_accounts(deployment)
        assert world.pairs() == before
        assert deployment.warehouse.tokens.organisation("t-1").status is ConnectionStatus.CONNECTED
        # The next one asks again with the old token.
        read_accounts(deployment)


def test_a_refresh_token_that_is_dead_is_never_tried_again(world: World) -> None:
    world.expire_by_date()
    world.mock.revoke_all()
    for _ in range(3):
        for tenant_id in ("t-1", "t-2"):
            with pytest.raises(ReconnectNeeded, match="xero-pipeline connect"):
                read_accounts(world.deployment, tenant_id)
    assert world.count("refreshes_refused") == 1
    assert world.count("POST /connect/token") == 2, "the code's exchange, and one refresh"
    statuses = {one.status for one in world.deployment.warehouse.tokens.organisations()}
    assert statuses == {ConnectionStatus.RECONNECT_NEEDED}, "the whole consent is gone, not one organisation"


def test_a_new_consent_brings_a_dead_connection_back(world: World) -> None:
    world.mock.revoke_all()
    with pytest.raises(ReconnectNeeded):
        read_accounts(world.deployment)
    connector = ConnectionService(world.deployment)
    back = world.mock.give_consent(connector.begin(browser=None))
    connector.finish(dict(parse_qsl(urlsplit(back).query)), browser=None)
    for tenant_id in ("t-1", "t-2"):
        read_accounts(world.deployment, tenant_id)


def test_whoever_connects_again_during_a_refresh_fails_no_sync(world: World) -> None:
    world.expire_by_date()
    connector = ConnectionService(world.deployment)

    def connect_again() -> None:
        back = world.mock.give_consent(connector.begin(browser=None))
        connector.finish(dict(parse_qsl(urlsplit(back).query)), browser=None)

    grant = world.deployment.warehouse.tokens.organisation("t-1").grant_id
    during_the_next_refresh(world.deployment, connect_again)
    read_accounts(world.deployment)
    assert world.deployment.warehouse.tokens.organisation("t-1").grant_id != grant
    assert len(world.pairs()) == 1
    read_accounts(world.deployment, "t-2")


def test_whoever_disconnects_during_a_refresh_ends_the_sync_with_a_clear_word(world: World) -> None:
    world.expire_by_date()
    tokens = world.deployment.warehouse.tokens
    grant = tokens.organisation("t-1").grant_id
    during_the_next_refresh(world.deployment, lambda: tokens.forget_grant(grant))
    with pytest.raises(UnknownOrganisation, match="t-1 is connected"):
        read_accounts(world.deployment)
    assert tokens.organisations() == []


def during_the_next_refresh(deployment: Deployment, happens: Callable[[], None]) -> None:
    """Xero has answered, and the new pair is about to be kept."""
    sign_in: Any = deployment.sign_in
    refresh = sign_in.refresh

    def refreshing(tokens: Any) -> Any:
        sign_in.refresh = refresh
        fresh = refresh(tokens)
        happens()
        return fresh

    sign_in.refresh = refreshing
