"""Organisations that are gone or alike, and an app that Xero tells little: connect, sync, disconnect."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from xero_pipeline.connection import ConnectionService
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.weeks import Week
from xero_pipeline_tests.conftest import FakeClock
from xero_pipeline_tests.migrated import make_tables
from xero_pipeline_tests.plain_xero import TENANT, PlainXero, open_connected_deployment, sync
from xero_pipeline_tests.servers import Answer, ScriptedServer, SeenRequest

OTHER = "0a1b2c3d-0000-4000-8000-00000000beef"
WEEK = Week(date(2026, 11, 21))
SHORT_LIVED = {"access_token": "an-access-token", "expires_in": 60, "token_type": "Bearer"}


def list_of(*organisations: tuple[str, str]) -> list[dict[str, str]]:
    """The answer to GET /connections, of tenant ids and names."""
    return [{"id": f"c-{tenant}", "tenantId": tenant, "tenantName": name} for tenant, name in organisations]


def describe(organisation_id: str, name: str) -> dict[str, Any]:
    return {"Organisations": [{"OrganisationID": organisation_id, "Name": name, "BaseCurrency": "NZD"}]}


def read_statuses(deployment: Deployment) -> dict[str, str]:
    return {one.tenant_id: one.status.value for one in deployment.warehouse.tokens.list_organisations()}


def list_tenants_asked_for(server: ScriptedServer) -> set[str]:
    return {request.headers["xero-tenant-id"] for request in server.requests if "xero-tenant-id" in request.headers}


# ---- a Custom Connection ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
def test_a_custom_connection_whose_list_is_closed_is_asked_for_its_organisation(tmp_path: Path, status: int) -> None:
    asked: list[SeenRequest] = []

    def answer(request: SeenRequest) -> dict[str, Any]:
        asked.append(request)
        return describe(TENANT, "Demo")

    closed = Answer(status, json={"Title": "Forbidden", "Detail": "AuthenticationUnsuccessful"})
    with open_connected_deployment(tmp_path, PlainXero(connections=closed, Organisation=answer)) as (deployment, _):
        assert ["xero-tenant-id" in request.headers for request in asked] == [False]
        [organisation] = deployment.warehouse.tokens.list_organisations()
        assert (organisation.tenant_id, organisation.tenant_name) == (TENANT, "Demo")
        assert sync(deployment, WEEK).success
        [disconnection] = ConnectionService(deployment).disconnect()
        assert "has not told this app the connection's id" in disconnection.unconfirmed
        assert read_statuses(deployment) == {}


@pytest.mark.parametrize("listed", [True, False])
def test_a_custom_connection_that_points_at_another_organisation_never_asks_for_the_former_one(
    tmp_path: Path, listed: bool
) -> None:
    xero = PlainXero(token=SHORT_LIVED, Organisation=describe(TENANT, "Demo"))
    with open_connected_deployment(tmp_path, xero) as (deployment, server):
        assert sync(deployment, WEEK).success
        before = len(server.requests)
        xero.routes["connections"] = list_of((OTHER, "Another")) if listed else Answer(403)
        xero.routes["Organisation"] = describe(OTHER, "Another")
        assert not sync(deployment, WEEK).success
        assert read_statuses(deployment) == {TENANT: "reconnect_needed"}
        assert TENANT not in [request.headers.get("xero-tenant-id") for request in server.requests[before:]]


def test_connecting_another_organisation_by_the_same_custom_connection_ends_the_former_one(tmp_path: Path) -> None:
    xero = PlainXero()
    with open_connected_deployment(tmp_path, xero) as (deployment, server):
        xero.routes["connections"] = list_of((OTHER, "Another"))
        ConnectionService(deployment).connect_custom()
        assert read_statuses(deployment) == {TENANT: "reconnect_needed", OTHER: "connected"}
        assert sync(deployment, WEEK).success
        assert list_tenants_asked_for(server) == {OTHER}


# ---- a reset of the demo company --------------------------------------------------------------------------


@contextmanager
def open_deployment(folder: Path, xero: PlainXero) -> Iterator[tuple[Deployment, ScriptedServer]]:
    """A deployment with an ordinary app, to which nothing is connected yet."""
    xero.routes["token"] = lambda _request: {
        "access_token": "an-access-token",
        "refresh_token": "a-refresh-token",
        "expires_in": 1800,
        "token_type": "Bearer",
    }
    with ScriptedServer(xero) as server:
        names = ("XERO_API_URL", "XERO_IDENTITY_URL", "XERO_LOGIN_URL")
        settings = load_settings(
            XERO_MOCK_MODE="false",
            XERO_CLIENT_ID="app",
            XERO_CLIENT_SECRET="app-secret",
            XERO_ENCRYPTION_KEY="5e" * 32,
            DAGSTER_HOME=str(folder),
            **dict.fromkeys(names, server.url),
        )
        with Deployment(settings, clock=FakeClock()) as deployment:
            make_tables(deployment.warehouse.engine)
            yield deployment, server


def consent(deployment: Deployment) -> None:
    service = ConnectionService(deployment)
    [state] = parse_qs(urlsplit(service.begin_consent(browser=None)).query)["state"]
    service.finish_consent({"state": state, "code": "a-code"}, browser=None)


def test_after_a_demo_reset_the_former_organisation_fails_no_sync(tmp_path: Path) -> None:
    xero = PlainXero(connections=list_of((TENANT, "Demo Company (AU)")))
    with open_deployment(tmp_path, xero) as (deployment, server):
        consent(deployment)
        xero.routes["connections"] = list_of((OTHER, "Demo Company (AU)"))
        consent(deployment)
        assert read_statuses(deployment) == {TENANT: "reconnect_needed", OTHER: "connected"}
        assert sync(deployment, WEEK).success
        assert list_tenants_asked_for(server) == {OTHER}
        assert {entry.tenant_id for entry in deployment.warehouse.log.list_newest(10)} == {OTHER}


def test_two_organisations_of_one_name_that_xero_lists_both_stay_connected(tmp_path: Path) -> None:
    both = list_of((TENANT, "Demo"), (OTHER, "Demo"))
    xero = PlainXero(connections=both[:1])
    with open_deployment(tmp_path, xero) as (deployment, _):
        consent(deployment)
        answers = iter([both[1:], both])
        xero.routes["connections"] = lambda _request: next(answers)
        consent(deployment)
        assert read_statuses(deployment) == {TENANT: "connected", OTHER: "connected"}


def test_an_unavailable_xero_ends_no_connection(tmp_path: Path) -> None:
    both = list_of((TENANT, "Demo"), (OTHER, "Demo"))
    xero = PlainXero(connections=both[:1])
    with open_deployment(tmp_path, xero) as (deployment, _):
        consent(deployment)
        answers = iter([both[1:]])
        xero.routes["connections"] = lambda _request: next(answers, Answer(503))
        consent(deployment)
        assert read_statuses(deployment) == {TENANT: "connected", OTHER: "connected"}


def test_when_every_organisation_is_lost_a_sync_fails_and_names_them(tmp_path: Path) -> None:
    with open_connected_deployment(tmp_path, PlainXero()) as (deployment, _):
        deployment.warehouse.tokens.set_status(TENANT, ConnectionStatus.RECONNECT_NEEDED)
        assert not sync(deployment, WEEK).success
        assert deployment.warehouse.log.list_newest(1) == []


# ---- disconnecting ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [Answer(503), Answer(500, drop=True), Answer(401), Answer(400, body="no")])
@pytest.mark.parametrize("all_of_them", [True, False])
def test_a_disconnect_ends_without_tokens_whatever_xero_answers(
    tmp_path: Path, answer: Answer, all_of_them: bool
) -> None:
    xero = PlainXero(connections=list_of((TENANT, "Demo"), (OTHER, "Other")))
    with open_deployment(tmp_path, xero) as (deployment, _):
        consent(deployment)
        for name in ("revocation", f"c-{TENANT}", f"c-{OTHER}"):
            xero.routes[name] = answer
        disconnections = ConnectionService(deployment).disconnect(None if all_of_them else TENANT)
        assert all(disconnection.unconfirmed for disconnection in disconnections)
        assert "Xero did not confirm it: " in str(disconnections[0])
        assert read_statuses(deployment) == ({} if all_of_them else {OTHER: "connected"})


def test_a_disconnect_ends_without_tokens_that_no_key_decrypts(tmp_path: Path) -> None:
    with open_deployment(tmp_path, PlainXero()) as (deployment, _):
        consent(deployment)
        with deployment.warehouse.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE xero_tokens SET refresh_token = access_token")
        [disconnection] = ConnectionService(deployment).disconnect()
        assert "cannot be read" in disconnection.unconfirmed
        assert read_statuses(deployment) == {}


@pytest.mark.parametrize("answer", [Answer(204), Answer(404)])
def test_a_disconnect_that_xero_confirms_says_nothing_more(tmp_path: Path, answer: Answer) -> None:
    with open_connected_deployment(tmp_path, PlainXero(**{"c-1": answer})) as (deployment, _):
        [disconnection] = ConnectionService(deployment).disconnect(TENANT)
        assert str(disconnection) == f"disconnected Demo ({TENANT})"
        assert read_statuses(deployment) == {}
