"""`MockXero`: the whole of it, as one object over one state file.

What an answer says is settled in the modules beside; here a request is let in, met by a fault or answered,
and noted, and here are the commands with which a test changes the world.
"""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from xero_pipeline.clock import Clock
from xero_pipeline.errors import PipelineError
from xero_pipeline.mock_xero import faults, problems
from xero_pipeline.mock_xero import request_log as journal
from xero_pipeline.mock_xero.api import limits
from xero_pipeline.mock_xero.api.accounting import PATH, Accounting
from xero_pipeline.mock_xero.books.bookkeeping import Bookkeeper
from xero_pipeline.mock_xero.books.documents import DocumentKind, DocumentStatus, MockLine, TaxTreatment
from xero_pipeline.mock_xero.books.truth import Books
from xero_pipeline.mock_xero.faults import FaultKind, MockFault
from xero_pipeline.mock_xero.identity.consent import Consent
from xero_pipeline.mock_xero.identity.tokens import App, TokenEndpoint
from xero_pipeline.mock_xero.messages import MockRequest, MockResponse
from xero_pipeline.mock_xero.organisations import DEFAULT_ORGANISATIONS, SYDNEY, MockLimits, MockOrganisation
from xero_pipeline.mock_xero.state import State, ticks

_INVOICES = (DocumentKind.SALE, DocumentKind.BILL)
_CREDIT_NOTES = (DocumentKind.SALE_CREDIT, DocumentKind.BILL_CREDIT)
_CONNECTIONS = re.compile(r"/[Cc]onnections(/[^/]+)?/?")

Answer = Callable[[dt.datetime], MockResponse]


class MockUnusable(PipelineError):
    """The file in which the mock remembers cannot be opened."""

    code = "mock_unusable"
    default_advice = "Check its folder; a damaged file can be deleted, since all in it is made up. Then connect again."


class MockXero:
    """A Xero in this process. Safe for many threads, and for many processes over one state file.

    Args:
        state: an SQLite file, made where there is none; everything that the mock remembers.
        client: the only client id and secret accepted; `None` accepts any id.
        scopes: what the app may ask for; `None` allows every scope that Xero has.
        timezone: where the organisations are: what day it is in their books.

    Raises:
        MockUnusable: the file is damaged, or cannot be made.
    """

    def __init__(
        self,
        state: Path,
        clock: Clock,
        *,
        limits: MockLimits = MockLimits(),  # noqa: B008 - frozen
        organisations: tuple[MockOrganisation, ...] = DEFAULT_ORGANISATIONS,
        timezone: ZoneInfo = SYDNEY,
        client: tuple[str, str] | None = None,
        scopes: frozenset[str] | None = None,
    ) -> None:
        self.organisations = organisations
        self._clock = clock
        try:
            self._state = State(state)
        except (sqlite3.Error, OSError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            raise MockUnusable(f"The mock Xero's file {state} cannot be used: {said}.") from None
        app = App(client, scopes)
        self._tokens = TokenEndpoint(self._state, app, organisations)
        self._consent = Consent(self._state, app, organisations)
        self._accounting = Accounting(self._state, clock, limits, organisations, timezone)

    def close(self) -> None:
        """Give back what is open of the file; used again, it opens it again."""
        self._state.close()

    # Requests.

    def handle(self, request: MockRequest) -> MockResponse:
        """Answer a request as Xero would."""
        answer = self._api_call if request.path.startswith(PATH) else self._other
        response = answer(request)
        return response.with_headers({"Xero-Correlation-Id": str(uuid.uuid4())})

    def _api_call(self, request: MockRequest) -> MockResponse:
        """Admission and the fault are settled in one transaction; answering holds no lock."""
        now = self._clock.now()
        tenant_id = request.header("xero-tenant-id")
        with self._state.writing() as connection:
            granted = self._accounting.admit(connection, request, now)
            if isinstance(granted, MockResponse):
                journal.count(connection, "refused" if granted.status == 429 else "turned_away")
                journal.note(connection, request, granted, tenant_id, ticks(now))
                return granted
            journal.count(connection, "calls")
            fault = faults.match_fault(connection, request, granted.organisation.tenant_id)
        response = MockResponse(500)
        try:
            ignore_dates = fault is not None and fault.kind is FaultKind.IGNORE_DATES
            response = self._under(
                fault,
                lambda at: self._accounting.answer(request, granted.organisation, at, ignore_dates=ignore_dates),
            ).with_headers(granted.admitted.headers)
        finally:
            with self._state.writing() as connection:
                if granted.admitted.call is not None:
                    limits.finish(connection, granted.admitted.call)
                journal.note(connection, request, response, granted.organisation.tenant_id, ticks(now))
        return response

    def _other(self, request: MockRequest) -> MockResponse:
        """The identity server, /connections, the consent page."""
        now = self._clock.now()
        with self._state.writing() as connection:
            fault = faults.match_fault(connection, request, request.header("xero-tenant-id"))
        response = self._under(fault, lambda at: self._route(request, at))
        with self._state.writing() as connection:
            journal.note(connection, request, response, "", ticks(now))
        return response

    def _route(self, request: MockRequest, now: dt.datetime) -> MockResponse:
        if _CONNECTIONS.fullmatch(request.path):
            with self._state.writing() as connection:
                return self._accounting.connections(connection, request, now)
        asked = (request.method, request.path)
        if asked == ("POST", "/connect/token"):
            return self._tokens.token(request, now)
        if asked == ("POST", "/connect/revocation"):
            return self._tokens.revoke(request)
        if asked == ("GET", "/identity/connect/authorize"):
            return self._consent.page(request)
        if asked == ("POST", "/identity/connect/authorize"):
            return self._consent.decide(request, now)
        return problems.not_found()

    def _under(self, fault: MockFault | None, answer: Answer) -> MockResponse:
        """Answer, or what a fault makes of it."""
        if fault is None:
            return answer(self._clock.now())
        if fault.kind is FaultKind.DELAY:
            self._clock.sleep(fault.seconds)
        return faults.instead(fault) or faults.corrupt_response(fault, answer(self._clock.now()))

    def give_consent(self, authorise_url: str, *, organisations: Sequence[str] | None = None) -> str:
        """What the browser's Allow does: answers the address that it is sent to, with code and state.

        Args:
            organisations: tenant ids; by default all.

        Raises:
            consent.Refused: Xero would show an error instead of its consent page.
        """
        chosen = [one.tenant_id for one in self.organisations] if organisations is None else organisations
        unknown = set(chosen) - {one.tenant_id for one in self.organisations}
        if unknown or not chosen:
            raise ValueError(f"no such organisation: {', '.join(sorted(unknown)) or 'none chosen'}")
        return self._consent.allow(self._consent.read(authorise_url), chosen, self._clock.now())

    def books(self, tenant_id: str) -> Books:
        """The truth about an organisation; raises KeyError where there is none."""
        return self._accounting.books(tenant_id)

    # Late edits: each moves UpdatedDateUTC to the clock's now.

    def add_invoice(
        self,
        tenant_id: str,
        *,
        date: dt.date,
        lines: Sequence[MockLine],
        kind: DocumentKind = DocumentKind.SALE,
        status: DocumentStatus = DocumentStatus.AUTHORISED,
        tax: TaxTreatment = TaxTreatment.EXCLUSIVE,
        currency: str | None = None,
        rate: Decimal | None = None,
        contact: str = "Late Customer Pty Ltd",
        paid_on: dt.date | None = None,
    ) -> str:
        """Answers the InvoiceID. `rate`: units of `currency` for one of the base currency."""
        if kind not in _INVOICES:
            raise ValueError(f"{kind} is no invoice")
        return self._keeper(tenant_id).add(
            kind=kind,
            date=date,
            lines=lines,
            status=status,
            tax=tax,
            currency=currency,
            rate=rate,
            contact=contact,
            paid_on=paid_on,
        )

    def edit_invoice(
        self,
        tenant_id: str,
        invoice_id: str,
        *,
        change: Decimal | None = None,
        lines: Sequence[MockLine] | None = None,
        date: dt.date | None = None,
        status: DocumentStatus | None = None,
        paid_on: dt.date | None = None,
    ) -> None:
        """Change what is given. `change` is added to the first line's LineAmount; its tax follows.

        Raises:
            KeyError: there is no such invoice or bill.
            ValueError: what is given cannot be.
        """
        self._keeper(tenant_id).edit(
            _INVOICES, invoice_id, change=change, lines=lines, date=date, status=status, paid_on=paid_on
        )

    def void_invoice(self, tenant_id: str, invoice_id: str) -> None:
        self.edit_invoice(tenant_id, invoice_id, status=DocumentStatus.VOIDED)

    def delete_invoice(self, tenant_id: str, invoice_id: str) -> None:
        self.edit_invoice(tenant_id, invoice_id, status=DocumentStatus.DELETED)

    def move_invoice(self, tenant_id: str, invoice_id: str, date: dt.date) -> None:
        self.edit_invoice(tenant_id, invoice_id, date=date)

    def add_credit_note(
        self,
        tenant_id: str,
        *,
        date: dt.date,
        lines: Sequence[MockLine],
        kind: DocumentKind = DocumentKind.SALE_CREDIT,
        status: DocumentStatus = DocumentStatus.AUTHORISED,
        tax: TaxTreatment = TaxTreatment.EXCLUSIVE,
        currency: str | None = None,
        rate: Decimal | None = None,
        contact: str = "Late Customer Pty Ltd",
        paid_on: dt.date | None = None,
    ) -> str:
        """Answers the CreditNoteID; amounts are positive."""
        if kind not in _CREDIT_NOTES:
            raise ValueError(f"{kind} is no credit note")
        return self._keeper(tenant_id).add(
            kind=kind,
            date=date,
            lines=lines,
            status=status,
            tax=tax,
            currency=currency,
            rate=rate,
            contact=contact,
            paid_on=paid_on,
        )

    def edit_credit_note(
        self,
        tenant_id: str,
        credit_note_id: str,
        *,
        change: Decimal | None = None,
        lines: Sequence[MockLine] | None = None,
        date: dt.date | None = None,
        status: DocumentStatus | None = None,
        paid_on: dt.date | None = None,
    ) -> None:
        """As `edit_invoice`."""
        self._keeper(tenant_id).edit(
            _CREDIT_NOTES, credit_note_id, change=change, lines=lines, date=date, status=status, paid_on=paid_on
        )

    def void_credit_note(self, tenant_id: str, credit_note_id: str) -> None:
        self.edit_credit_note(tenant_id, credit_note_id, status=DocumentStatus.VOIDED)

    def delete_credit_note(self, tenant_id: str, credit_note_id: str) -> None:
        self.edit_credit_note(tenant_id, credit_note_id, status=DocumentStatus.DELETED)

    def move_credit_note(self, tenant_id: str, credit_note_id: str, date: dt.date) -> None:
        self.edit_credit_note(tenant_id, credit_note_id, date=date)

    def _keeper(self, tenant_id: str) -> Bookkeeper:
        return Bookkeeper(self.books(tenant_id).ledger, self._state, self._clock)

    # The world around.

    def add_fault(self, fault: MockFault) -> int:
        """Arm a fault; those armed first are met first."""
        with self._state.writing() as connection:
            return faults.add(connection, fault)

    def clear_faults(self) -> None:
        with self._state.writing() as connection:
            faults.clear(connection)

    def disconnect(self, tenant_id: str) -> None:
        """The user disconnects us at Xero's side: the tokens live, the organisation is gone."""
        self.books(tenant_id)
        with self._state.writing() as connection:
            connection.execute("DELETE FROM connections WHERE tenant_id = ?", (tenant_id,))

    def revoke_all(self) -> None:
        """Every token and connection ends."""
        with self._state.writing() as connection:
            for table in ("connections", "access_tokens", "codes"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours
            connection.execute("UPDATE refresh_tokens SET revoked = 1")

    def expire_access_tokens(self) -> None:
        """Every access token handed out so far is over; refresh tokens live."""
        with self._state.writing() as connection:
            connection.execute("UPDATE access_tokens SET expires = MIN(expires, ?)", (ticks(self._clock.now()),))

    def counters(self) -> Mapping[str, int]:
        """How often what happened; a name that never did is missing.

        `calls` let in, `refused` (429), `turned_away` (401, 403), `refreshes`, `refreshes_refused`,
        `codes_exchanged`, `client_credentials`, `revocations`, `requests`, and each method and path
        (`GET /api.xro/2.0/Invoices`).
        """
        with self._state.reading() as connection:
            return journal.counters(connection)

    def request_log(self) -> Sequence[Mapping[str, Any]]:
        """Every request, oldest first: `at`, `method`, `path`, `query` (of the API), `tenant_id`, `status`,
        `broken`, `pid`; never a token."""
        with self._state.reading() as connection:
            return journal.requests(connection)

    def reset(self) -> None:
        """Forget everything: tokens, connections, edits, faults, counts."""
        self._state.empty()
