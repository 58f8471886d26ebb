"""The calls that the pipeline makes to Xero's Accounting API: one method each, raw JSON with exact decimals.

This module decides what to request, page after page. `http/session.py` and `http/transport.py` send the requests;
the modules in `readers/` interpret the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from xero_pipeline.grants import Organisation
from xero_pipeline.identifiers import normalise_id
from xero_pipeline.weeks import Week, WeekRange
from xero_pipeline.xero.errors import PayloadNotUnderstood, XeroUnavailable
from xero_pipeline.xero.http.session import XeroSession
from xero_pipeline.xero.http.transport import XeroApis
from xero_pipeline.xero.readers.accounts import Account, OrganisationDetails, read_accounts, read_organisation
from xero_pipeline.xero.readers.reports import Difference

Json = dict[str, Any]

# Xero allows up to 1,000 documents a page. The larger the page, the fewer calls a week costs.
PAGE_SIZE = 1000
# A list of several pages is read at most this often until two readings in a row are the same.
MAX_READINGS = 4
# A limit against a server that announces pages without end.
MAX_PAGES = 1000


class OrganisationClient:
    """The books of one organisation. Each run makes new clients; a client requests accounts and details once."""

    def __init__(self, organisation: Organisation, apis: XeroApis, session: XeroSession) -> None:
        self.organisation = organisation
        self._apis = apis
        self._session = session

    @property
    def tenant_id(self) -> str:
        return self.organisation.tenant_id

    @property
    def name(self) -> str:
        return self.organisation.display_name

    @property
    def attempts(self) -> int:
        """HTTP attempts that the session has made so far, retries included."""
        return self._session.attempts

    @property
    def reading_began_at(self) -> datetime | None:
        """When Xero worked on the first answer since `begin_reading`, by Xero's clock; `None` if Xero did not say."""
        return self._apis.reading_began_at

    def begin_reading(self) -> None:
        """Begin a reading whose answers belong together."""
        self._apis.reading_began_at = None

    @cached_property
    def details(self) -> OrganisationDetails:
        return read_organisation(self._apis.get("Organisation", "get_organisations", self.tenant_id))

    @cached_property
    def accounts(self) -> dict[str, Account]:
        return read_accounts(self._apis.get("Accounts", "get_accounts", self.tenant_id))

    def forget_accounts(self) -> None:
        """Have the chart of accounts requested anew when it is used next."""
        self.__dict__.pop("accounts", None)

    def fetch_profit_and_loss(self, week: Week | WeekRange, *, cash_basis: bool) -> Json:
        """Fetch the report of a week, or of up to 52 weeks in one column.

        It is requested without `periods`, with which Xero would apply the range to every column.
        """
        return self._apis.get(
            "Reports/ProfitAndLoss",
            "get_report_profit_and_loss",
            self.tenant_id,
            from_date=week.start,
            to_date=week.ending,
            standard_layout=True,
            payments_only=cash_basis,
        )

    def fetch_bank_summary(self, week: Week | WeekRange) -> Json:
        return self._apis.get(
            "Reports/BankSummary",
            "get_report_bank_summary",
            self.tenant_id,
            from_date=week.start,
            to_date=week.ending,
        )

    def fetch_invoices(self, week: Week | WeekRange) -> DocumentListing:
        """Fetch the week's sales invoices with their lines, authorised or paid."""
        return self._fetch_week("Invoices", "get_invoices", "InvoiceID", **_filter_invoices(week))

    def count_invoices(self, weeks: Week | WeekRange) -> int | None:
        """Ask how many invoices `fetch_invoices` would return; `None` if the server does not count its pages.

        One call: the count is in the pagination of a page of one invoice.
        """
        payload = self._apis.get(
            "Invoices",
            "get_invoices",
            self.tenant_id,
            order="InvoiceID ASC",
            page=1,
            page_size=1,
            **_filter_invoices(weeks),
        )
        _read_rows(payload, "Invoices", "InvoiceID")
        pagination = payload.get("pagination")
        return None if pagination is None else _read_pagination(pagination, "Invoices")[1]

    def fetch_credit_notes(self, week: Week | WeekRange) -> DocumentListing:
        """Fetch the week's credit notes to customers with their lines, in every status."""
        where = _filter_by_week(week, "ACCRECCREDIT")
        return self._fetch_week("CreditNotes", "get_credit_notes", "CreditNoteID", where=where)

    def fetch_changed_invoices(self, since: datetime) -> list[Json]:
        """Fetch every invoice and bill that was created, edited, voided or deleted since then."""
        return self._fetch_changes("Invoices", "get_invoices", "InvoiceID", since)

    def fetch_changed_credit_notes(self, since: datetime) -> list[Json]:
        return self._fetch_changes("CreditNotes", "get_credit_notes", "CreditNoteID", since)

    def _fetch_changes(self, container: str, method: str, key: str, since: datetime) -> list[Json]:
        """Read the list once: no document ever leaves it, so no page can lose one while it is read."""
        reading = self._read_list_once(container, method, key, {"if_modified_since": since})
        self._raise_if_stuck(reading, container)
        return list(reading.documents.values())

    def _fetch_week(self, container: str, method: str, key: str, **filters: Any) -> DocumentListing:
        """Read a week's list to its last page, ordered by a key that no edit changes.

        A document that leaves the list between two pages moves the others up, so one of them is on no page that is
        read; another that enters the list can make the count right again. So a list of several pages is read until
        two readings in a row have the same documents.

        Raises:
            XeroUnavailable: no two readings in a row were the same.
        """
        previous_keys = None
        for _ in range(MAX_READINGS):
            reading = self._read_list_once(container, method, key, filters)
            if not reading.stuck_at and (reading.pages <= 1 or reading.documents.keys() == previous_keys):
                return DocumentListing(reading.documents.values(), reading.compare_count(container))
            previous_keys = reading.documents.keys()
        self._raise_if_stuck(reading, container)
        raise XeroUnavailable(
            f"The list of {container} of {self.name} was read {MAX_READINGS} times and changed each time.",
            advice="Somebody is editing these documents; the next sync tries again.",
        )

    def _read_list_once(self, container: str, method: str, key: str, filters: Json) -> _ListReading:
        documents: dict[str, Json] = {}
        count: int | None = None
        page, last_page, pages = 1, 1, 0
        while page <= last_page:
            payload = self._apis.get(
                container, method, self.tenant_id, order=f"{key} ASC", page=page, page_size=PAGE_SIZE, **filters
            )
            rows = _read_rows(payload, container, key)
            has_new_rows = any(normalise_id(str(row[key])) not in documents for row in rows)
            pagination = payload.get("pagination")
            if pagination is None:
                # The server does not count its pages: continue until a page has nothing new.
                last_page, pages = (page + 1, page) if has_new_rows else (page, pages)
            else:
                last_page, count = _read_pagination(pagination, container)
                # The largest number of pages counts, even if the list has shrunk to one page since: a document that
                # moved to the first page was missed.
                pages = max(pages, last_page)
                if not rows and count == len(documents):
                    # Every document is here, however many pages Xero announces.
                    break
                if not has_new_rows and (rows or page < last_page):
                    # Xero counts wrongly, or documents have come and gone and moved known ones to this page.
                    return _ListReading(documents, pages, count, stuck_at=(page, last_page))
            documents.update((normalise_id(str(row[key])), row) for row in rows)
            page += 1
            if page > MAX_PAGES:
                raise PayloadNotUnderstood(f"The list of {container} of {self.name} has more than {MAX_PAGES} pages.")
        return _ListReading(documents, pages, count)

    def _raise_if_stuck(self, reading: _ListReading, container: str) -> None:
        if reading.stuck_at:
            page, last_page = reading.stuck_at
            raise PayloadNotUnderstood(
                f"Xero says that the list of {container} of {self.name} has {last_page} pages, but page {page} has "
                "nothing that was not on the pages before it."
            )


class DocumentListing(list[Json]):
    """The documents of a list, each once.

    Attributes:
        miscount: the difference, if Xero counts more or fewer documents than it lists.
    """

    def __init__(self, documents: Iterable[Json], miscount: Difference | None) -> None:
        super().__init__(documents)
        self.miscount = miscount


@dataclass(frozen=True, slots=True)
class _ListReading:
    """A list that was read once, from its first page to its last.

    Attributes:
        documents: by their key.
        pages: the largest number of pages that the list had during the reading.
        count: how many documents the list has, by Xero's count.
        stuck_at: a page that had nothing new, and the number of pages.
    """

    documents: dict[str, Json]
    pages: int
    count: int | None
    stuck_at: tuple[int, int] | None = None

    def compare_count(self, container: str) -> Difference | None:
        if self.count in (None, len(self.documents)):
            return None
        return Difference(f"the number of {container}", Decimal(self.count or 0), Decimal(len(self.documents)))


def _filter_invoices(weeks: Week | WeekRange) -> Json:
    return {"where": _filter_by_week(weeks, "ACCREC"), "statuses": ["AUTHORISED", "PAID"]}


def _filter_by_week(week: Week | WeekRange, document_type: str) -> str:
    end = week.ending + timedelta(days=1)
    return f'Date>=DateTime({week.start:%Y, %m, %d}) AND Date<DateTime({end:%Y, %m, %d}) AND Type=="{document_type}"'


def _read_rows(payload: Json, container: str, key: str) -> list[Json]:
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
    """A client for each organisation. The assets get it as their resource."""

    def __init__(
        self,
        load_organisations: Callable[[], Sequence[Organisation]],
        make_apis: Callable[[Organisation], XeroApis],
        session: XeroSession,
    ) -> None:
        self._load_organisations = load_organisations
        self._make_apis = make_apis
        self._session = session
        self._clients: dict[str, OrganisationClient] = {}

    @property
    def session(self) -> XeroSession:
        return self._session

    def list_organisations(self) -> list[OrganisationClient]:
        """Return a client for each stored organisation, connected or not, in a stable order."""
        return [self._get_client(organisation) for organisation in self._load_organisations()]

    def _get_client(self, organisation: Organisation) -> OrganisationClient:
        client = self._clients.get(organisation.tenant_id)
        if client is None:
            client = OrganisationClient(organisation, self._make_apis(organisation), self._session)
            self._clients[organisation.tenant_id] = client
        # The state of the connection may have changed since the client was made.
        client.organisation = organisation
        return client

    def close(self) -> None:
        self._session.close()
