"""The mock over a real socket: alone, under a prefix, and with its control API."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import requests
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from xero_pipeline.mock_xero import FaultKind, MockFault, MockXero
from xero_pipeline.mock_xero.server import create_mock_app
from xero_pipeline.settings import GRANULAR_SCOPES
from xero_pipeline.weeks import Week
from xero_pipeline_tests.mock_xero.client import REDIRECT_URI, TENANT, VERIFIER, make_authorise_url, read_parameters

Json = dict[str, Any]
WEEK = {"fromDate": "2026-11-15", "toDate": "2026-11-21"}


@contextmanager
def serve(app: Starlette) -> Iterator[str]:
    """Serve the app on a free port of the loopback interface; yields its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.005)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


@pytest.fixture
def url(mock: MockXero) -> Iterator[str]:
    with serve(create_mock_app(mock, with_control_api=True)) as address:
        yield address


def give_consent(base: str, session: requests.Session, *organisations: str) -> str:
    """Load the consent page and post its form, as a browser does; returns the code."""
    address = make_authorise_url().replace("https://login.xero.com", base)
    page = session.get(address, timeout=10)
    assert page.status_code == 200
    assert 'method="post"' in page.text
    body = [("decision", "allow"), *(("organisation", tenant_id) for tenant_id in organisations)]
    response = session.post(page.url, data=body, allow_redirects=False, timeout=10)
    assert response.status_code == 303
    return read_parameters(response.headers["Location"])["code"]


def sign_in(base: str, session: requests.Session) -> dict[str, str]:
    """Sign in and return the headers of an API call."""
    body = {
        "grant_type": "authorization_code",
        "code": give_consent(base, session, TENANT),
        "redirect_uri": REDIRECT_URI,
        "code_verifier": VERIFIER,
    }
    tokens = session.post(f"{base}/connect/token", data=body, auth=("app", "secret"), timeout=10).json()
    assert tokens["scope"] == GRANULAR_SCOPES
    return {
        "Authorization": f"Bearer {tokens['access_token']}",
        "xero-tenant-id": TENANT,
        "Accept": "application/json",
    }


@pytest.fixture
def session() -> Iterator[requests.Session]:
    with requests.Session() as session:
        yield session


@pytest.mark.parametrize("prefix", ["", "/mock-xero", "/a/b"])
def test_sign_in_and_a_report_over_http_under_any_prefix(
    mock: MockXero, session: requests.Session, prefix: str
) -> None:
    app = Starlette(routes=[Mount(prefix, create_mock_app(mock))])
    with serve(app) as address:
        headers = sign_in(address + prefix, session)
        response = session.get(
            f"{address}{prefix}/api.xro/2.0/Reports/ProfitAndLoss", params=WEEK, headers=headers, timeout=10
        )
        assert response.status_code == 200
        assert response.json()["Reports"][0]["ReportName"] == "Profit and Loss"
        assert "X-DayLimit-Remaining" in response.headers
        where = "Date>=DateTime(2026, 11, 15) AND Date<DateTime(2026, 11, 22)"
        url = f"{address}{prefix}/api.xro/2.0/Invoices"
        listed = session.get(url, params={"where": where, "page": 1}, headers=headers, timeout=10).json()
        assert len(listed["Invoices"]) > 50
        (row,) = session.get(f"{address}{prefix}/connections", headers=headers, timeout=10).json()
        disconnected = session.delete(f"{address}{prefix}/connections/{row['id']}", headers=headers, timeout=10)
        assert disconnected.status_code == 204


def test_connection_faults_break_answers_over_http_too(mock: MockXero, url: str, session: requests.Session) -> None:
    headers = sign_in(url, session)
    organisation = f"{url}/api.xro/2.0/Organisation"
    for kind in (FaultKind.DROP, FaultKind.CUT):
        mock.add_fault(MockFault(kind))
        with pytest.raises((requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            session.get(organisation, headers=headers, timeout=10)
    mock.add_fault(MockFault(FaultKind.TIME_OUT))
    with pytest.raises(requests.exceptions.ReadTimeout):
        session.get(organisation, headers=headers, timeout=0.2)
    assert session.get(organisation, headers=headers, timeout=10).status_code == 200


def test_commands_list_edit_and_add_documents(mock: MockXero, url: str, session: requests.Session) -> None:
    base = f"{url}/mock/{TENANT}"
    week = f"{base}/weeks/2026-11-21"
    before = Decimal(session.get(week, timeout=10).json()["profitAndLoss"]["total_trading_income"])
    documents = session.get(f"{base}/documents", params={"from": "2026-11-15", "to": "2026-11-21"}, timeout=10).json()
    invoice = next(row for row in documents if row["type"] == "ACCREC" and row["status"] in ("AUTHORISED", "PAID"))
    voided = session.patch(f"{base}/documents/{invoice['id']}", json={"status": "VOIDED"}, timeout=10).json()
    assert voided["status"] == "VOIDED"
    line = {"amount": "1000.00", "revenueType": "Commercial", "region": "West"}
    for kind in ("ACCREC", "ACCRECCREDIT"):
        given = {"type": kind, "date": "2026-11-16", "lines": [line]}
        added = session.post(f"{base}/documents", json=given, timeout=10).json()
        moved = session.patch(
            f"{base}/documents/{added['id']}", json={"change": "-1.5", "date": "2026-11-17"}, timeout=10
        )
        assert moved.json()["date"] == "2026-11-17"
    week_figures = session.get(week, timeout=10).json()
    income = Decimal(week_figures["profitAndLoss"]["total_trading_income"])
    assert income == mock.books(TENANT).profit_and_loss(Week(date(2026, 11, 21))).total_trading_income < before
    cell = next(row for row in week_figures["revenue"] if (row["revenueType"], row["region"]) == ("commercial", "west"))
    assert Decimal(cell["credited"]) >= Decimal("998.50")


def test_commands_change_faults_connections_and_tokens(mock: MockXero, url: str, session: requests.Session) -> None:
    headers = sign_in(url, session)
    organisation = f"{url}/api.xro/2.0/Organisation"

    def status() -> int:
        return session.get(organisation, headers=headers, timeout=10).status_code

    def command(name: str, **given: Any) -> Any:
        response = session.post(f"{url}/mock/{name}", json=given, timeout=10)
        assert response.status_code == 200, response.text
        return response.json()

    assert command("faults", kind="status", status=503, path="Organisation")["id"] == 1
    assert status() == 503
    command("faults", kind="status", times=None)
    session.delete(f"{url}/mock/faults", timeout=10)
    assert status() == 200
    command("disconnect", tenantId=TENANT)
    assert status() == 403
    command("expire-access-tokens")
    assert status() == 401
    command("revoke-all")
    counters = session.get(f"{url}/mock/counters", timeout=10).json()
    assert counters["codes_exchanged"] == 1
    assert counters["calls"] == 2
    log = session.get(f"{url}/mock/requests", timeout=10).json()
    assert [row["status"] for row in log if row["path"].endswith("Organisation")] == [503, 200, 403, 401]
    assert session.get(f"{url}/mock/organisations", timeout=10).json()[0]["tenant_id"] == TENANT
    command("reset")
    assert session.get(f"{url}/mock/counters", timeout=10).json() == {}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "faults", '{"kind": "unheard of"}'),
        ("POST", "faults", '{"kind": "drop", "colour": 1}'),
        ("POST", "faults", '{"kind": "drop", "path": "("}'),
        ("POST", "faults", "[]"),
        ("POST", "faults", "no json"),
        ("POST", "disconnect", "{}"),
        ("POST", "disconnect", '{"tenantId": "no-such-tenant"}'),
        ("GET", f"{TENANT}/documents", ""),
        ("POST", f"{TENANT}/documents", '{"date": "2026-11-16", "lines": []}'),
        ("POST", f"{TENANT}/documents", '{"date": "2026-11-16", "lines": [{"amount": "x"}]}'),
        ("PATCH", f"{TENANT}/documents/nothing", "{}"),
        ("GET", f"{TENANT}/weeks/2026-11-20", ""),
        ("GET", "no-such-tenant/weeks/2026-11-21", ""),
    ],
)
def test_a_wrong_command_is_400_and_says_what_is_wrong(url: str, method: str, path: str, body: str) -> None:
    response = requests.request(method, f"{url}/mock/{path}", data=body, timeout=10)
    assert response.status_code == 400
    assert response.json()["error"]


def test_an_unknown_command_is_404(url: str) -> None:
    assert requests.get(f"{url}/mock/nothing", timeout=10).status_code == 404
    assert requests.delete(f"{url}/mock/a/b/c/d", timeout=10).status_code == 404


def test_commands_are_served_only_if_enabled(mock: MockXero) -> None:
    with serve(create_mock_app(mock)) as address:
        assert requests.post(f"{address}/mock/reset", timeout=10).status_code == 404
        assert requests.get(f"{address}/mock/counters", timeout=10).status_code == 404
