"""The calls that the pipeline makes, and nothing else: one method each, raw JSON with exact decimals.

What an answer means is read in `reports.py` and its neighbours; how a request travels is `session.py`'s
and `transport.py`'s matter. What is settled here is what to ask for, page after page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Any

from xero_pipeline.grants import Organisation
from xero_pipeline.weeks import Week
from xero_pipeline.xero.errors import PayloadNotUnderstood, XeroUnavailable
from xero_pipeline.xero.http.session import XeroSession
from xero_pipeline.xero.http.transport import XeroApis
from xero_pipeline.xero.readers.accounts import Account, OrganisationDetails, read_accounts, read_organisation
from xero_pipeline.xero.readers.reports import Difference

Json = dict[str, Any]

# Xero allows up to 1,000 documents a page; the larger the page, the fewer calls a week costs.
PAGE_SIZE = 1000
# How often a list of several pages is read, until it is the same twice.
READINGS = 4
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

    def invoices(self, week: Week) -> DocumentListing:
        """The week's sales invoices with their lines, authorised or paid."""
        return self._week_list(
            "Invoices", "get_invoices", "InvoiceID", where=_dated(week, "ACCREC"), statuses=["AUTHORISED", "PAID"]
        )

    def credit_notes(self, week: Week) -> DocumentListing:
        """The week's credit notes to customers with their lines, whatever their status."""
        return self._week_list("CreditNotes", "get_credit_notes", "CreditNoteID", where=_dated(week, "ACCRECCREDIT"))

    def changed_invoices(self, since: datetime) -> list[Json]:
        """Every invoice and bill that was made, edited, voided or deleted since then."""
        return self._changed_list("Invoices", "get_invoices", "InvoiceID", since)

    def changed_credit_notes(self, since: datetime) -> list[Json]:
        return self._changed_list("CreditNotes", "get_credit_notes", "CreditNoteID", since)

    def _changed_list(self, container: str, method: str, key: str, since: datetime) -> list[Json]:
        """Read once: no document leaves this list, so one that enters it can push none of the others out."""
        reading = self._read_once(container, method, key, {"if_modified_since": since})
        self._require_moving(reading, container)
        return list(reading.documents.values())

    def _week_list(self, container: str, method: str, key: str, **filters: Any) -> DocumentListing:
        """Read a week's list to its last page, ordered by a key that no edit changes.

        A document that leaves the list between two pages moves the others up, and one slips through; another
        that enters it may hide that from any count. So a list of several pages is read until two readings in
        a row have the same documents.

        Raises:
            XeroUnavailable: it was another list each time.
        """
        before = None
        for _ in range(READINGS):
            reading = self._read_once(container, method, key, filters)
            if not reading.stuck and (reading.pages <= 1 or reading.documents.keys() == before):
                return DocumentListing(reading.documents.values(), reading.miscount(container))
            before = reading.documents.keys()
        self._require_moving(reading, container)
        raise XeroUnavailable(
            f"The {container} of {self.name} were others each of the {READINGS} times that they were read.",
            advice="Somebody is editing them just now; the next sync tries again.",
        )

    def _read_once(self, container: str, method: str, key: str, filters: Json) -> _ListReading:
        found: dict[str, Json] = {}
        count: int | None = None
        page, last, pages = 1, 1, 0
        while page <= last:
            payload = self._apis.get(
                container, method, self.tenant_id, order=f"{key} ASC", page=page, page_size=PAGE_SIZE, **filters
            )
            rows = _rows(payload, container, key)
            brings_news = any(row[key] not in found for row in rows)
            pagination = payload.get("pagination")
            if pagination is None:
                # A server that does not count: go on until a page brings nothing new.
                last, pages = (page + 1, page) if brings_news else (page, pages)
            else:
                last, count = _read_pagination(pagination, container)
                # Also of a list that has shrunk to one page meanwhile: what moved to the first one slipped through.
                pages = max(pages, last)
                if not rows and count == len(found):
                    # All of them are here, however many pages are announced.
                    break
                if not brings_news and (rows or page < last):
                    # It counts wrongly; or documents have come and gone meanwhile, and moved old ones to this page.
                    return _ListReading(found, pages, count, stuck=(page, last))
            found.update((row[key], row) for row in rows)
            page += 1
            if page > PAGES_AT_MOST:
                raise PayloadNotUnderstood(f"The {container} of {self.name} come in more than {PAGES_AT_MOST} pages.")
        return _ListReading(found, pages, count)

    def _require_moving(self, reading: _ListReading, container: str) -> None:
        if reading.stuck:
            page, last = reading.stuck
            raise PayloadNotUnderstood(
                f"Xero says that the {container} of {self.name} have {last} pages, and on page {page} there is nothing "
                "that was not on those before it."
            )


class DocumentListing(list[Json]):
    """The documents of a list, each once.

    Attributes:
        miscount: where Xero counts more or fewer documents than it lists.
    """

    def __init__(self, documents: Iterable[Json], miscount: Difference | None) -> None:
        super().__init__(documents)
        self.miscount = miscount


@dataclass(frozen=True, slots=True)
class _ListReading:
    """A list read once, from its first page to its last: how many pages it had at some time, and how many documents
    Xero says it has. `stuck`: at which page, of how many, there was nothing new."""

    documents: dict[str, Json]
    pages: int
    count: int | None
    stuck: tuple[int, int] | None = None

    def miscount(self, container: str) -> Difference | None:
        if self.count in (None, len(self.documents)):
            return None
        return Difference(f"the number of {container}", Decimal(self.count or 0), Decimal(len(self.documents)))


def _dated(week: Week, kind: str) -> str:
    after = week.shift(1).start
    return f'Date>=DateTime({week.start:%Y, %m, %d}) AND Date<DateTime({after:%Y, %m, %d}) AND Type=="{kind}"'


def _rows(payload: Json, container: str, key: str) -> list[Json]:
    rows = payload.get(container)
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.get(key) for row in rows):
        raise PayloadNotUnderstood(f"Xero's answer has no list of {container}, each with its {key}.")
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
