"""`MockXero`: the whole mock as one object over one state file.

This module admits a request, applies a fault or has it answered, and logs it. It also holds the commands
with which a test edits documents, arms faults and ends tokens. The modules beside it build the answers.
"""

from __future__ import annotations

import datetime as dt
import re
import sqlite3
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from xero_pipeline.clock import Clock
from xero_pipeline.errors import PipelineError
from xero_pipeline.mock_xero import faults, problems, request_log
from xero_pipeline.mock_xero.api import limits
from xero_pipeline.mock_xero.api.accounting import API_PATH, AccountingApi
from xero_pipeline.mock_xero.books import chart
from xero_pipeline.mock_xero.books.bookkeeping import Bookkeeper, to_whole_cents
from xero_pipeline.mock_xero.books.documents import DocumentKind, DocumentStatus, MockLine, TaxTreatment
from xero_pipeline.mock_xero.books.entries import Entry
from xero_pipeline.mock_xero.books.truth import Books
from xero_pipeline.mock_xero.faults import FaultKind, MockFault
from xero_pipeline.mock_xero.identity.consent import Consent
from xero_pipeline.mock_xero.identity.tokens import App, TokenEndpoint
from xero_pipeline.mock_xero.messages import MockRequest, MockResponse
from xero_pipeline.mock_xero.organisations import DEFAULT_ORGANISATIONS, SYDNEY, MockLimits, MockOrganisation
from xero_pipeline.mock_xero.state import State, to_microseconds

_INVOICES = (DocumentKind.SALE, DocumentKind.BILL)
_CREDIT_NOTES = (DocumentKind.SALE_CREDIT, DocumentKind.BILL_CREDIT)
_CONNECTIONS = re.compile(r"/[Cc]onnections(/[^/]+)?/?")

MakeResponse = Callable[[dt.datetime], MockResponse]


class MockUnusable(PipelineError):
    """The mock's state file cannot be opened."""

    code = "mock_unusable"
    default_advice = "Check its folder. A damaged file can be deleted: all data in it is made up. Then connect again."


class MockXero:
    """A mock Xero in this process. Many threads, and many processes over one state file, can use it at once.

    Args:
        state: the SQLite file with the mock's whole state; created if it is missing.
        client: the only client id and secret that are accepted; `None` accepts any id.
        scopes: the scopes that the app may request; `None` allows every scope that Xero has.
        timezone: the organisations' time zone, which decides the current day in their books.

    Raises:
        MockUnusable: the file is damaged or cannot be created.
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
            reason = error.strerror if isinstance(error, OSError) else error
            raise MockUnusable(f"The mock Xero's file {state} cannot be used: {reason}.") from None
        app = App(client, scopes)
        self._tokens = TokenEndpoint(self._state, app, organisations)
        self._consent = Consent(self._state, app, organisations)
        self._accounting = AccountingApi(self._state, clock, limits, organisations, timezone)

    def close(self) -> None:
        """Close the state file's connections; the next use opens new ones."""
        self._state.close()

    # Requests.

    def handle(self, request: MockRequest) -> MockResponse:
        """Answer a request as Xero would."""
        answer = self._handle_api_call if request.path.startswith(API_PATH) else self._handle_other
        response = answer(request)
        now = format_datetime(self._clock.now().astimezone(dt.UTC), usegmt=True)
        return response.with_headers({"Xero-Correlation-Id": str(uuid.uuid4()), "Date": now})

    def _handle_api_call(self, request: MockRequest) -> MockResponse:
        """Admit the call and pick its fault in one transaction; no lock is held while the answer is built."""
        now = self._clock.now()
        tenant_id = request.header("xero-tenant-id")
        with self._state.begin_write() as connection:
            authorised = self._accounting.admit(connection, request, now)
            if isinstance(authorised, MockResponse):
                request_log.increment_counter(connection, "refused" if authorised.status == 429 else "turned_away")
                request_log.record_request(connection, request, authorised, tenant_id, to_microseconds(now))
                return authorised
            request_log.increment_counter(connection, "calls")
            fault = faults.match_fault(connection, request, authorised.organisation.tenant_id)
        response = MockResponse(500)
        try:
            ignore_dates = fault is not None and fault.kind is FaultKind.IGNORE_DATES
            response = self._answer_with_fault(
                fault,
                lambda at: self._accounting.answer(request, authorised.organisation, at, ignore_dates=ignore_dates),
            ).with_headers(authorised.decision.headers)
        finally:
            with self._state.begin_write() as connection:
                if authorised.decision.call_id is not None:
                    limits.finish(connection, authorised.decision.call_id)
                request_log.record_request(
                    connection, request, response, authorised.organisation.tenant_id, to_microseconds(now)
                )
        return response

    def _handle_other(self, request: MockRequest) -> MockResponse:
        """Answer a request to the identity server, /connections or the consent page."""
        now = self._clock.now()
        with self._state.begin_write() as connection:
            fault = faults.match_fault(connection, request, request.header("xero-tenant-id"))
        response = self._answer_with_fault(fault, lambda at: self._route(request, at))
        with self._state.begin_write() as connection:
            request_log.record_request(connection, request, response, "", to_microseconds(now))
        return response

    def _route(self, request: MockRequest, now: dt.datetime) -> MockResponse:
        if _CONNECTIONS.fullmatch(request.path):
            with self._state.begin_write() as connection:
                return self._accounting.answer_connections(connection, request, now)
        method_and_path = (request.method, request.path)
        if method_and_path == ("POST", "/connect/token"):
            return self._tokens.issue(request, now)
        if method_and_path == ("POST", "/connect/revocation"):
            return self._tokens.revoke(request)
        if method_and_path == ("GET", "/identity/connect/authorize"):
            return self._consent.show_page(request)
        if method_and_path == ("POST", "/identity/connect/authorize"):
            return self._consent.decide(request, now)
        return problems.respond_not_found()

    def _answer_with_fault(self, fault: MockFault | None, answer: MakeResponse) -> MockResponse:
        """The answer, changed or replaced by the fault if there is one."""
        if fault is None:
            return answer(self._clock.now())
        if fault.kind is FaultKind.DELAY:
            self._clock.sleep(fault.seconds)
        return faults.replace_response(fault) or faults.corrupt_response(fault, answer(self._clock.now()))

    def give_consent(self, authorise_url: str, *, organisations: Sequence[str] | None = None) -> str:
        """Consent as a person does with the page's Allow button.

        Args:
            organisations: tenant ids; by default all.

        Returns:
            The redirect address, with the code and the state.

        Raises:
            consent.Refused: Xero would show an error page instead of its consent page.
            ValueError: no organisation is chosen, or one does not exist.
        """
        chosen = (
            [organisation.tenant_id for organisation in self.organisations] if organisations is None else organisations
        )
        unknown = set(chosen) - {organisation.tenant_id for organisation in self.organisations}
        if unknown or not chosen:
            raise ValueError(f"no such organisation: {', '.join(sorted(unknown)) or 'none chosen'}")
        return self._consent.allow(self._consent.read_request(authorise_url), chosen, self._clock.now())

    def books(self, tenant_id: str) -> Books:
        """An organisation's books. Raises KeyError for an unknown tenant id."""
        return self._accounting.books(tenant_id)

    # Late edits: each sets UpdatedDateUTC to the clock's current time.

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
        """Add an invoice or bill and return its InvoiceID. `rate`: units of `currency` per base currency unit."""
        if kind not in _INVOICES:
            raise ValueError(f"{kind} is not an invoice or bill")
        return self._make_bookkeeper(tenant_id).add(
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
        """Change the given fields. `change` is added to the first line's LineAmount, and its tax is recalculated.

        Raises:
            KeyError: there is no such invoice or bill.
            ValueError: a given value is not allowed.
        """
        self._make_bookkeeper(tenant_id).edit(
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
        """Add a credit note and return its CreditNoteID; amounts are positive."""
        if kind not in _CREDIT_NOTES:
            raise ValueError(f"{kind} is not a credit note")
        return self._make_bookkeeper(tenant_id).add(
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
        """Change the given fields of a credit note, as `edit_invoice` does for an invoice."""
        self._make_bookkeeper(tenant_id).edit(
            _CREDIT_NOTES, credit_note_id, change=change, lines=lines, date=date, status=status, paid_on=paid_on
        )

    def void_credit_note(self, tenant_id: str, credit_note_id: str) -> None:
        self.edit_credit_note(tenant_id, credit_note_id, status=DocumentStatus.VOIDED)

    def delete_credit_note(self, tenant_id: str, credit_note_id: str) -> None:
        self.edit_credit_note(tenant_id, credit_note_id, status=DocumentStatus.DELETED)

    def move_credit_note(self, tenant_id: str, credit_note_id: str, date: dt.date) -> None:
        self.edit_credit_note(tenant_id, credit_note_id, date=date)

    # Silent edits: no document changes, so no list of changes shows them.

    def post_journal(self, tenant_id: str, *, date: dt.date, account_code: str, amount: Decimal) -> None:
        """Post a manual journal against the balance sheet.

        Args:
            amount: credited to the account: positive raises the profit, negative lowers it.
        """
        self._make_bookkeeper(tenant_id).add_entry(Entry(date, account_code, to_whole_cents(amount)))

    def add_bank_movement(
        self, tenant_id: str, *, date: dt.date, account_code: str, amount: Decimal, bank: str = chart.OPERATING_BANK
    ) -> None:
        """Receive money (a positive amount) or spend it (a negative one), against a profit and loss account."""
        cents = to_whole_cents(amount)
        self._make_bookkeeper(tenant_id).add_entry(Entry(date, account_code, cents, bank, cents))

    def move_payroll(self, tenant_id: str, *, from_date: dt.date, to_date: dt.date, amount: Decimal) -> None:
        """Move wages from one day to another; they are owed, not paid, so no bank account changes."""
        cents, bookkeeper = to_whole_cents(amount), self._make_bookkeeper(tenant_id)
        bookkeeper.add_entry(Entry(from_date, chart.WAGES, cents))
        bookkeeper.add_entry(Entry(to_date, chart.WAGES, -cents))

    def retype_account(self, tenant_id: str, account_code: str, kind: str) -> None:
        """Give an account another type, such as DIRECTCOSTS."""
        self._make_bookkeeper(tenant_id).retype_account(account_code, kind)

    def _make_bookkeeper(self, tenant_id: str) -> Bookkeeper:
        return Bookkeeper(self.books(tenant_id).ledger, self._state, self._clock)

    # Faults, connections, tokens and the request log.

    def add_fault(self, fault: MockFault) -> int:
        """Arm a fault and return its number. Faults apply in the order in which they were armed."""
        with self._state.begin_write() as connection:
            return faults.arm(connection, fault)

    def clear_faults(self) -> None:
        with self._state.begin_write() as connection:
            faults.clear(connection)

    def disconnect(self, tenant_id: str) -> None:
        """Disconnect the organisation as its user can do in Xero; the tokens stay valid."""
        self.books(tenant_id)
        with self._state.begin_write() as connection:
            connection.execute("DELETE FROM connections WHERE tenant_id = ?", (tenant_id,))

    def revoke_all(self) -> None:
        """End every token and every connection."""
        with self._state.begin_write() as connection:
            for table in ("connections", "access_tokens", "codes"):
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 - fixed table names
            connection.execute("UPDATE refresh_tokens SET revoked = 1")

    def expire_access_tokens(self) -> None:
        """Expire every access token issued so far; refresh tokens stay valid."""
        with self._state.begin_write() as connection:
            connection.execute(
                "UPDATE access_tokens SET expires = MIN(expires, ?)", (to_microseconds(self._clock.now()),)
            )

    def counters(self) -> Mapping[str, int]:
        """How often each event happened; an event that never happened is missing.

        Names: `calls` (admitted), `refused` (429), `turned_away` (401, 403), `refreshes`,
        `refreshes_refused`, `codes_exchanged`, `client_credentials`, `revocations`, `requests`, and each
        method and path (`GET /api.xro/2.0/Invoices`).
        """
        with self._state.begin_read() as connection:
            return request_log.read_counters(connection)

    def request_log(self) -> Sequence[Mapping[str, Any]]:
        """The logged requests, oldest first: `at`, `method`, `path`, `query` (of API calls only), `tenant_id`,
        `status`, `broken`, `pid`. The log holds no token."""
        with self._state.begin_read() as connection:
            return request_log.read_requests(connection)

    def reset(self) -> None:
        """Delete all state: tokens, connections, edits, faults, counters and the request log."""
        self._state.clear()
