"""The Accounting API: who may ask, how often, and which of the answers it is."""

from __future__ import annotations

import datetime as dt
import sqlite3
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from xero_pipeline.clock import Clock
from xero_pipeline.mock_xero import problems
from xero_pipeline.mock_xero.api import limits
from xero_pipeline.mock_xero.api.company import accounts_json, organisation_json, tracking_json
from xero_pipeline.mock_xero.api.limits import RateLimitDecision
from xero_pipeline.mock_xero.api.listing import ListEndpoint
from xero_pipeline.mock_xero.api.reports import Reports
from xero_pipeline.mock_xero.api.where import QueryProblem
from xero_pipeline.mock_xero.api.xml import dump_xml
from xero_pipeline.mock_xero.books.ledger import ledger_of
from xero_pipeline.mock_xero.books.seeded_random import steady_uuid
from xero_pipeline.mock_xero.books.truth import Books
from xero_pipeline.mock_xero.identity import connections
from xero_pipeline.mock_xero.identity.scopes import OPENING
from xero_pipeline.mock_xero.messages import MockRequest, MockResponse
from xero_pipeline.mock_xero.organisations import MockLimits, MockOrganisation
from xero_pipeline.mock_xero.problems import ValidationProblem
from xero_pipeline.mock_xero.state import State, hashed, moment_of, ticks

Json = dict[str, Any]

PATH = "/api.xro/2.0/"


@dataclass(frozen=True, slots=True)
class RequestContext:
    """Who an access token stands for."""

    client_id: str
    scopes: frozenset[str]
    custom: bool


@dataclass(frozen=True, slots=True)
class AuthorisedRequest:
    """A call that may go on, and for which organisation."""

    organisation: MockOrganisation
    admitted: RateLimitDecision


class Accounting:
    """GET under /api.xro/2.0, and /connections."""

    def __init__(
        self,
        state: State,
        clock: Clock,
        limits: MockLimits,
        organisations: tuple[MockOrganisation, ...],
        zone: ZoneInfo,
    ) -> None:
        self._state = state
        self._clock = clock
        self._limits = limits
        self._organisations = {one.tenant_id: one for one in organisations}
        self._zone = zone

    def books(self, tenant_id: str) -> Books:
        return Books(ledger_of(self._organisations[tenant_id], self._zone), self._state, self._clock)

    def admit(
        self, connection: sqlite3.Connection, request: MockRequest, now: dt.datetime
    ) -> AuthorisedRequest | MockResponse:
        """Let a call in, and count it; or the answer that turns it away."""
        caller = authenticate(connection, request, now)
        if isinstance(caller, MockResponse):
            return caller
        organisation = self._organisation(connection, caller, request)
        if organisation is None:
            return problems.forbidden()
        opening = OPENING.get(_endpoint(request.path), frozenset())
        if opening and not opening & caller.scopes:
            return problems.unauthorised("AuthorizationUnsuccessful", scope_missing=True)
        admitted = limits.admit(connection, self._limits, organisation.tenant_id, ticks(now))
        return admitted if isinstance(admitted, MockResponse) else AuthorisedRequest(organisation, admitted)

    def answer(
        self, request: MockRequest, organisation: MockOrganisation, now: dt.datetime, *, ignore_dates: bool
    ) -> MockResponse:
        """What Xero says to a call that was let in."""
        books = self.books(organisation.tenant_id)
        resource, _, one = request.path.removeprefix(PATH).strip("/").partition("/")
        if _endpoint(request.path) not in OPENING:
            return problems.not_found()
        if request.method != "GET":
            return problems.not_allowed()
        try:
            payload = self._payload(books, resource.lower(), one, request, now, ignore_dates)
        except ValidationProblem as problem:
            return problems.validation(str(problem))
        except QueryProblem as problem:
            return problems.query(str(problem))
        if payload is None:
            return problems.not_found()
        return _wrapped(payload, request, now)

    def connections(self, connection: sqlite3.Connection, request: MockRequest, now: dt.datetime) -> MockResponse:
        """GET /connections, DELETE /connections/{id}: no organisation's call, but the app's."""
        caller = authenticate(connection, request, now)
        if isinstance(caller, MockResponse):
            return caller
        admitted = limits.admit(connection, self._limits, limits.NOBODY, ticks(now))
        if isinstance(admitted, MockResponse):
            return admitted
        one = request.path.strip("/").partition("/")[2]
        if request.method == "GET" and not one:
            listed = connections.listed(connection, caller.client_id, self._organisations)
            response = MockResponse.of_json(listed)
        elif request.method == "DELETE" and one:
            ended = connections.end(connection, caller.client_id, one)
            response = MockResponse(204) if ended else problems.not_found()
        else:
            response = problems.not_allowed()
        return response.with_headers(admitted.headers)

    def _organisation(
        self, connection: sqlite3.Connection, caller: RequestContext, request: MockRequest
    ) -> MockOrganisation | None:
        """The organisation that a call is for, if the caller is connected to it."""
        tenant_id = request.header("xero-tenant-id").strip()
        if caller.custom and not tenant_id:
            tenant_id = next(iter(self._organisations))
        if tenant_id not in self._organisations:
            return None
        if not connections.is_connected(connection, caller.client_id, tenant_id):
            return None
        return self._organisations[tenant_id]

    def _payload(
        self, books: Books, resource: str, one: str, request: MockRequest, now: dt.datetime, ignore_dates: bool
    ) -> Json | None:
        organisation = books.organisation
        if resource == "reports":
            reports = Reports(books, self._state, now)
            if one.lower() == "profitandloss":
                return reports.profit_and_loss(request, ignore_dates=ignore_dates)
            return reports.bank_summary(request, ignore_dates=ignore_dates)
        containers = {"invoices": "Invoices", "creditnotes": "CreditNotes"}
        if resource in containers:
            listing = ListEndpoint(books)
            if one:
                return listing.one(containers[resource], one)
            return listing.answer(containers[resource], request, ignore_dates=ignore_dates)
        if one:
            return None
        if resource == "accounts":
            return accounts_json(organisation, request)
        return organisation_json(organisation) if resource == "organisation" else tracking_json(organisation)


def authenticate(
    connection: sqlite3.Connection, request: MockRequest, now: dt.datetime
) -> RequestContext | MockResponse:
    """Who is calling, or the 401 that Xero gives."""
    scheme, _, token = request.header("Authorization").partition(" ")
    row = None
    if scheme.lower() == "bearer" and token:
        row = connection.execute("SELECT * FROM access_tokens WHERE hash = ?", (hashed(token.strip()),)).fetchone()
    if row is None:
        return problems.unauthorised("AuthenticationUnsuccessful")
    if row["expires"] <= ticks(now):
        expired = moment_of(row["expires"])
        return problems.unauthorised(f"TokenExpired: token expired at {expired:%m/%d/%Y %H:%M:%S}")
    return RequestContext(row["client_id"], frozenset(row["scope"].split()), bool(row["custom"]))


def _endpoint(path: str) -> str:
    """The endpoint that a path names, as in `scopes.OPENING`."""
    resource, _, one = path.removeprefix(PATH).strip("/").lower().partition("/")
    return f"{resource}/{one}" if resource == "reports" else resource


def _wrapped(payload: Json, request: MockRequest, now: dt.datetime) -> MockResponse:
    """In Xero's envelope; XML for whoever does not ask for JSON."""
    envelope = {
        "Id": steady_uuid(now, request.path, request.query),
        "Status": "OK",
        "ProviderName": "Mock Xero",
        "DateTimeUTC": f"/Date({int(now.timestamp() * 1000)})/",
        **payload,
    }
    if "json" in request.header("Accept").lower():
        return MockResponse.of_json(envelope)
    return MockResponse(200, {"Content-Type": "text/xml; charset=utf-8"}, dump_xml(envelope))
