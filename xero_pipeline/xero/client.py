"""The calls that the pipeline makes, and nothing else: one method each, raw JSON with exact decimals.

What an answer means is read in `reports.py` and its neighbours; how a request travels is `session.py`'s
and `transport.py`'s matter. What is settled here is what to ask for, page after page.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from xero_pipeline.grants import Organisation
from xero_pipeline.weeks import Week
from xero_pipeline.xero.accounts import Account, OrganisationDetails, read_accounts, read_organisation
from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.session import XeroSession
from xero_pipeline.xero.transport import XeroApis

log = logging.getLogger(__name__)

Json = dict[str, Any]

# Xero allows up to 1,000 documents a page; the larger the page, the fewer calls a week costs.
PAGE_SIZE = 1000
# How often a list that changed while it was read is read anew.
RESTARTS = 3
# A server that announces pages without end must not keep us for ever.
PAGES_AT_MOST = 1000


class OrganisationClient:
    """One organisation's books. Made anew for each run; accounts and details are asked for once."""

    def __init__(self, organisation: Organisation, apis: XeroApis, session: XeroSession) -> None:
        self.organisation = organisation
        self._apis = apis
        self._session = session

    @property
    def tenant_id(self) -> str:
        return self.organisation.tenant_id

    @property
    def name(self) -> str:
        return self.organisation.tenant_name

    @property
    def attempts(self) -> int:
        """HTTP attempts made so far over this session, retries included."""
        return self._session.attempts

    @cached_property
    def details(self) -> OrganisationDetails:
        return read_organisation(self._apis.get("Organisation", "get_organisations", self.tenant_id))

    @cached_property
    def accounts(self) -> dict[str, Account]:
        return read_accounts(self._apis.get("Accounts", "get_accounts", self.tenant_id))

    def profit_and_loss(self, week: Week, *, cash_basis: bool) -> Json:
        """The week's report, alone: with `periods` Xero would apply the range to every column."""
        return self._apis.get(
            "Reports/ProfitAndLoss",
            "get_report_profit_and_loss",
            self.tenant_id,
            from_date=week.start,
            to_date=week.ending,
            standard_layout=True,
            payments_only=cash_basis,
        )

    def bank_summary(self, week: Week) -> Json:
        return self._apis.get(
            "Reports/BankSummary",
            "get_report_bank_summary",
            self.tenant_id,
            from_date=week.start,
            to_date=week.ending,
        )

    def invoices(self, week: Week) -> list[Json]:
        """The week's sales invoices with their lines, authorised or paid."""
        return self._pages(
            "Invoices", "get_invoices", "InvoiceID", where=_dated(week, "ACCREC"), statuses=["AUTHORISED", "PAID"]
        )

    def credit_notes(self, week: Week) -> list[Json]:
        """The week's credit notes to customers with their lines, whatever their status."""
        return self._pages("CreditNotes", "get_credit_notes", "CreditNoteID", where=_dated(week, "ACCRECCREDIT"))

    def changed_invoices(self, since: datetime) -> list[Json]:
        """Every invoice and bill that was made, edited, voided or deleted since then."""
        return self._pages("Invoices", "get_invoices", "InvoiceID", if_modified_since=since)

    def changed_credit_notes(self, since: datetime) -> list[Json]:
        return self._pages("CreditNotes", "get_credit_notes", "CreditNoteID", if_modified_since=since)

    def _pages(self, container: str, method: str, key: str, **filters: Any) -> list[Json]:
        """Read a list to its last page, ordered by a key that no edit changes.

        A document that enters or leaves the list between two pages shifts the others, and one could slip
        through. Xero counts the list in each answer: where that count moves, or the documents are not as
        many as counted, the list is read anew.
        """
        for _ in range(RESTARTS):
            documents, settled = self._read_once(container, method, key, filters)
            if settled:
                return documents
            log.info("%s of %s changed while they were read; reading them again", container, self.name)
        # Not a race but the server's way of counting: three readings agree with themselves, not with it.
        log.warning("Xero counts the %s of %s otherwise than it lists them", container, self.name)
        return documents

    def _read_once(self, container: str, method: str, key: str, filters: Json) -> tuple[list[Json], bool]:
        found: dict[str, Json] = {}
        counts: set[int | None] = set()
        page, last = 1, 1
        while page <= last:
            payload = self._apis.get(
                container, method, self.tenant_id, order=f"{key} ASC", page=page, page_size=PAGE_SIZE, **filters
            )
            rows = _rows(payload, container, key)
            pagination = payload.get("pagination")
            if pagination is None:
                # A server that does not count: go on until a page brings nothing new.
                last = page + 1 if any(row[key] not in found for row in rows) else page
            else:
                last, count = _read_pagination(pagination, container)
                counts.add(count)
            found.update((row[key], row) for row in rows)
            page += 1
            if page > PAGES_AT_MOST:
                raise PayloadNotUnderstood(f"The {container} of {self.name} come in more than {PAGES_AT_MOST} pages.")
        settled = page <= 2 or (len(counts) <= 1 and counts <= {len(found), None})
        return list(found.values()), settled


def _dated(week: Week, kind: str) -> str:
    after = week.shift(1).start
    return f'Date>=DateTime({week.start:%Y, %m, %d}) AND Date<DateTime({after:%Y, %m, %d}) AND Type=="{kind}"'


def _rows(payload: Json, container: str, key: str) -> list[Json]:
    rows = payload.get(container)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.get(key) for row in rows):
        raise PayloadNotUnderstood(f"Xero's answer has no list of {container} with a {key} each.")
    return rows


def _read_pagination(pagination: object, container: str) -> tuple[int, int | None]:
    try:
        if not isinstance(pagination, dict):
            raise TypeError
        pages = int(pagination["pageCount"])
        count = pagination.get("itemCount")
        return pages, None if count is None else int(count)
    except (KeyError, TypeError, ValueError):
        raise PayloadNotUnderstood(f"The pagination of Xero's {container} is not understood.") from None


class Xero:
    """The connected organisations, each with its client: what the assets are given."""

    def __init__(
        self,
        organisations: Callable[[], Sequence[Organisation]],
        apis: Callable[[Organisation], XeroApis],
        session: XeroSession,
    ) -> None:
        self._organisations = organisations
        self._apis = apis
        self._session = session
        self._clients: dict[str, OrganisationClient] = {}

    @property
    def session(self) -> XeroSession:
        return self._session

    def organisations(self) -> list[OrganisationClient]:
        """A client for each organisation that is kept, connected or not, in a stable order."""
        return [self._client(organisation) for organisation in self._organisations()]

    def _client(self, organisation: Organisation) -> OrganisationClient:
        client = self._clients.get(organisation.tenant_id)
        if client is None:
            client = OrganisationClient(organisation, self._apis(organisation), self._session)
            self._clients[organisation.tenant_id] = client
        # Its connection may stand otherwise than when the client was made.
        client.organisation = organisation
        return client

    def close(self) -> None:
        self._session.close()
