"""The Accounting API: checks the token, organisation, scope and limits of a call, and routes it to its endpoint."""

from __future__ import annotations

import datetime as dt
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from xero_pipeline.clock import Clock
from xero_pipeline.mock_xero import problems
from xero_pipeline.mock_xero.api import limits
from xero_pipeline.mock_xero.api.company import (
    render_accounts,
    render_currencies,
    render_organisation,
    render_tracking,
)
from xero_pipeline.mock_xero.api.limits import RateLimitDecision
from xero_pipeline.mock_xero.api.listing import ListEndpoint
from xero_pipeline.mock_xero.api.reports import Reports
from xero_pipeline.mock_xero.api.where import QueryProblem
from xero_pipeline.mock_xero.api.xml import dump_xml
from xero_pipeline.mock_xero.books.ledger import get_ledger
from xero_pipeline.mock_xero.books.seeded_random import derive_uuid
from xero_pipeline.mock_xero.books.truth import Books
from xero_pipeline.mock_xero.identity import connections
from xero_pipeline.mock_xero.identity.scopes import ENDPOINT_SCOPES
from xero_pipeline.mock_xero.messages import MockRequest, MockResponse
from xero_pipeline.mock_xero.organisations import MockLimits, MockOrganisation
from xero_pipeline.mock_xero.problems import ValidationProblem
from xero_pipeline.mock_xero.state import State, from_microseconds, hash_secret, to_microseconds

Json = dict[str, Any]

API_PATH = "/api.xro/2.0/"


@dataclass(frozen=True, slots=True)
class RequestContext:
    """The app behind an access token. `custom`: the token belongs to a Custom Connection."""

    client_id: str
    scopes: frozenset[str]
    custom: bool


@dataclass(frozen=True, slots=True)
class AuthorisedRequest:
    """An admitted call with its organisation."""

    organisation: MockOrganisation
    decision: RateLimitDecision


class AccountingApi:
    """Answers GET under /api.xro/2.0, and /connections."""

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
        self._organisations = {organisation.tenant_id: organisation for organisation in organisations}
        # At Xero the tenant id is the OrganisationID, so a client may send either.
        self._tenant_ids = {organisation.organisation_id: organisation.tenant_id for organisation in organisations}
        self._zone = zone

    def books(self, tenant_id: str) -> Books:
        return Books(get_ledger(self._organisations[tenant_id], self._zone), self._state, self._clock)

    def admit(
        self, connection: sqlite3.Connection, request: MockRequest, now: dt.datetime
    ) -> AuthorisedRequest | MockResponse:
        """Admit a call and count it, or return the error that refuses it."""
        context = authenticate(connection, request, now)
        if isinstance(context, MockResponse):
            return context
        organisation = self._find_organisation(connection, context, request)
        if organisation is None:
            return problems.respond_forbidden()
        sufficient = ENDPOINT_SCOPES.get(_name_endpoint(request.path), frozenset())
        if sufficient and not sufficient & context.scopes:
            return problems.respond_unauthorised("AuthorizationUnsuccessful", scope_missing=True)
        decision = limits.admit(connection, self._limits, organisation.tenant_id, to_microseconds(now))
        return decision if isinstance(decision, MockResponse) else AuthorisedRequest(organisation, decision)

    def answer(
        self, request: MockRequest, organisation: MockOrganisation, now: dt.datetime, *, ignore_dates: bool
    ) -> MockResponse:
        """Answer an admitted call."""
        books = self.books(organisation.tenant_id)
        resource, item = _split_path(request.path)
        if _name_endpoint(request.path) not in ENDPOINT_SCOPES:
            return problems.respond_not_found()
        if request.method != "GET":
            return problems.respond_method_not_allowed()
        try:
            payload = self._build_payload(books, resource, item, request, now, ignore_dates)
        except ValidationProblem as problem:
            return problems.respond_validation_error(str(problem))
        except QueryProblem as problem:
            return problems.respond_query_error(str(problem))
        if payload is None:
            return problems.respond_not_found()
        return _wrap_payload(payload, request, now)

    def answer_connections(
        self, connection: sqlite3.Connection, request: MockRequest, now: dt.datetime
    ) -> MockResponse:
        """GET /connections and DELETE /connections/{id}; these count only against the app's own limit."""
        context = authenticate(connection, request, now)
        if isinstance(context, MockResponse):
            return context
        decision = limits.admit(connection, self._limits, limits.APP_ITSELF, to_microseconds(now))
        if isinstance(decision, MockResponse):
            return decision
        connection_id = request.path.strip("/").partition("/")[2]
        if request.method == "GET" and not connection_id:
            connected = connections.list_connections(connection, context.client_id, self._organisations)
            response = MockResponse.from_json(connected)
        elif request.method == "DELETE" and connection_id:
            deleted = connections.delete_connection(connection, context.client_id, connection_id)
            response = MockResponse(204) if deleted else problems.respond_not_found()
        else:
            response = problems.respond_method_not_allowed()
        return response.with_headers(decision.headers)

    def _find_organisation(
        self, connection: sqlite3.Connection, context: RequestContext, request: MockRequest
    ) -> MockOrganisation | None:
        """The organisation that a call names, `None` if the app is not connected to it."""
        tenant_id = request.header("xero-tenant-id").strip()
        tenant_id = self._tenant_ids.get(tenant_id.lower(), tenant_id)
        if context.custom and not tenant_id:
            tenant_id = next(iter(self._organisations))
        if tenant_id not in self._organisations:
            return None
        if not connections.is_connected(connection, context.client_id, tenant_id):
            return None
        return self._organisations[tenant_id]

    def _build_payload(
        self, books: Books, resource: str, item: str, request: MockRequest, now: dt.datetime, ignore_dates: bool
    ) -> Json | None:
        organisation = books.organisation
        if resource == "reports":
            reports = Reports(books, self._state, now)
            if item.lower() == "profitandloss":
                return reports.render_profit_and_loss(request, ignore_dates=ignore_dates)
            return reports.render_bank_summary(request, ignore_dates=ignore_dates)
        containers = {"invoices": "Invoices", "creditnotes": "CreditNotes"}
        if resource in containers:
            listing = ListEndpoint(books)
            if item:
                return listing.answer_document(containers[resource], item)
            return listing.answer(containers[resource], request, ignore_dates=ignore_dates)
        if resource == "organisation":
            return None if item else render_organisation(organisation)
        lists: dict[str, tuple[str, str, Callable[[], list[Json]]]] = {
            "accounts": ("Accounts", "AccountID", lambda: render_accounts(organisation, books.chart, request)),
            "currencies": ("Currencies", "Code", lambda: render_currencies(organisation, request)),
            "trackingcategories": (
                "TrackingCategories",
                "TrackingCategoryID",
                lambda: render_tracking(organisation, request),
            ),
        }
        container, key, render = lists[resource]
        rows = [row for row in render() if not item or row[key].lower() == item.lower()]
        return {container: rows} if rows or not item else None


def authenticate(
    connection: sqlite3.Connection, request: MockRequest, now: dt.datetime
) -> RequestContext | MockResponse:
    """The app that an access token belongs to, or Xero's 401."""
    scheme, _, token = request.header("Authorization").partition(" ")
    row = None
    if scheme.lower() == "bearer" and token:
        row = connection.execute("SELECT * FROM access_tokens WHERE hash = ?", (hash_secret(token.strip()),)).fetchone()
    if row is None:
        return problems.respond_unauthorised("AuthenticationUnsuccessful")
    if row["expires"] <= to_microseconds(now):
        expired = from_microseconds(row["expires"])
        return problems.respond_unauthorised(f"TokenExpired: token expired at {expired:%m/%d/%Y %H:%M:%S}")
    return RequestContext(row["client_id"], frozenset(row["scope"].split()), bool(row["custom"]))


def _split_path(path: str) -> tuple[str, str]:
    """The resource that a path names, in lower case, and what follows it. Xero takes Organisation and Organisations."""
    resource, _, item = path.removeprefix(API_PATH).strip("/").partition("/")
    resource = resource.lower()
    return "organisation" if resource == "organisations" else resource, item


def _name_endpoint(path: str) -> str:
    """The endpoint that a path names, as a key of `scopes.ENDPOINT_SCOPES`."""
    resource, item = _split_path(path)
    return f"{resource}/{item.lower()}" if resource == "reports" else resource


def _wrap_payload(payload: Json, request: MockRequest, now: dt.datetime) -> MockResponse:
    """Put a payload into Xero's envelope; XML unless the client accepts JSON."""
    envelope = {
        "Id": derive_uuid(now, request.path, request.query),
        "Status": "OK",
        "ProviderName": "Mock Xero",
        "DateTimeUTC": f"/Date({int(now.timestamp() * 1000)})/",
        **payload,
    }
    if "json" in request.header("Accept").lower():
        return MockResponse.from_json(envelope)
    return MockResponse(200, {"Content-Type": "text/xml; charset=utf-8"}, dump_xml(envelope))
