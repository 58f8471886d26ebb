"""`MockXero`: the whole of it, as one object over one state file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from xero_pipeline.clock import Clock
from xero_pipeline.xero.mock.books import Books
from xero_pipeline.xero.mock.documents import Kind, MockLine, Status, Tax
from xero_pipeline.xero.mock.faults import Fault
from xero_pipeline.xero.mock.messages import MockRequest, MockResponse
from xero_pipeline.xero.mock.organisations import DEFAULT_ORGANISATIONS, SYDNEY, MockLimits, MockOrganisation


class MockXero:
    """A Xero in this process. Safe for many threads, and for many processes over one state file.

    Args:
        state: an SQLite file, made where there is none; everything that the mock remembers.
        client: the only client id and secret accepted; `None` accepts any id.
        scopes: what the app may ask for; `None` allows every scope that Xero has.
        timezone: where the organisations are: what day it is in their books.
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

    def handle(self, request: MockRequest) -> MockResponse:
        """Answer a request as Xero would."""
        raise NotImplementedError

    def give_consent(self, authorise_url: str, *, organisations: Sequence[str] | None = None) -> str:
        """What the browser's Allow does: answers the address that it is sent to, with code and state.

        Args:
            organisations: tenant ids; by default all.
        """
        raise NotImplementedError

    def books(self, tenant_id: str) -> Books:
        raise NotImplementedError

    # Late edits: each moves UpdatedDateUTC to the clock's now.

    def add_invoice(
        self,
        tenant_id: str,
        *,
        date: date,
        lines: Sequence[MockLine],
        kind: Kind = Kind.SALE,
        status: Status = Status.AUTHORISED,
        tax: Tax = Tax.EXCLUSIVE,
        currency: str | None = None,
        rate: Decimal | None = None,
        contact: str = "Late Customer Pty Ltd",
        paid_on: date | None = None,
    ) -> str:
        """Answers the InvoiceID."""
        raise NotImplementedError

    def edit_invoice(
        self,
        tenant_id: str,
        invoice_id: str,
        *,
        change: Decimal | None = None,
        lines: Sequence[MockLine] | None = None,
        date: date | None = None,
        status: Status | None = None,
    ) -> None:
        """`change` is added to the first line's LineAmount; its tax follows."""
        raise NotImplementedError

    def void_invoice(self, tenant_id: str, invoice_id: str) -> None:
        raise NotImplementedError

    def delete_invoice(self, tenant_id: str, invoice_id: str) -> None:
        raise NotImplementedError

    def move_invoice(self, tenant_id: str, invoice_id: str, date: date) -> None:
        raise NotImplementedError

    # add_credit_note, edit_credit_note, void_credit_note, delete_credit_note, move_credit_note: the same.

    def add_fault(self, fault: Fault) -> int:
        raise NotImplementedError

    def clear_faults(self) -> None:
        raise NotImplementedError

    def disconnect(self, tenant_id: str) -> None:
        """The user disconnects us at Xero's side: the tokens live, the organisation is gone."""
        raise NotImplementedError

    def revoke_all(self) -> None:
        """Every token and connection ends."""
        raise NotImplementedError

    def expire_access_tokens(self) -> None:
        raise NotImplementedError

    def counters(self) -> Mapping[str, int]:
        """`refreshes`, `codes_exchanged`, `calls`, `refused`, and `GET /api.xro/2.0/Invoices` and the like."""
        raise NotImplementedError

    def request_log(self) -> Sequence[Mapping[str, Any]]:
        """Every request: `at`, `method`, `path`, `tenant_id`, `status`, `pid`; never a token."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget everything: tokens, connections, edits, faults, counts."""
        raise NotImplementedError
