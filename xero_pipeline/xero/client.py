"""The calls that the pipeline makes to Xero's Accounting API: one method each, raw JSON with exact decimals.

This module decides what to request; `listing.py` reads lists page after page. `http/session.py` and
`http/transport.py` send the requests; the modules in `readers/` interpret the answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from xero_pipeline.grants import Organisation
from xero_pipeline.periods import Period
from xero_pipeline.weeks import WeekRange
from xero_pipeline.xero.facts import KeptFacts, NoKeptFacts, OrganisationFacts
from xero_pipeline.xero.http.session import XeroSession
from xero_pipeline.xero.http.transport import XeroApis
from xero_pipeline.xero.listing import (
    DocumentSink,
    DocumentsInMemory,
    ListReader,
    request_changed_credit_notes,
    request_changed_invoices,
    request_credit_notes,
    request_invoices,
)
from xero_pipeline.xero.readers.accounts import Account, OrganisationDetails
from xero_pipeline.xero.readers.reports import Difference

Json = dict[str, Any]


class OrganisationClient:
    """The books of one organisation. Safe to use from several threads; each of them begins readings of its own.

    Args:
        kept: what Xero said about the organisation within the last day.
    """

    def __init__(
        self, organisation: Organisation, apis: XeroApis, session: XeroSession, kept: KeptFacts | None = None
    ) -> None:
        self.organisation = organisation
        self._apis = apis
        self._session = session
        self._facts = OrganisationFacts(apis, organisation.tenant_id, kept or NoKeptFacts(), session.clock)
        self._lists = ListReader(self._get, organisation.display_name)

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
    def details(self) -> OrganisationDetails:
        """Requested at most once a day."""
        return self._facts.get_details()

    @property
    def accounts(self) -> dict[str, Account]:
        """The chart of accounts by id, requested at most once a day; see `refresh_accounts`."""
        return self._facts.get_accounts()

    def forget_accounts(self) -> None:
        """Have the chart of accounts requested anew when it is used next."""
        self._facts.forget_accounts()

    def refresh_accounts(self, asked_at: float, unknown: Iterable[str] = ()) -> bool:
        """Have a chart of accounts that can explain a report, and return whether it is another one than before.

        It is requested anew if it was kept from an earlier day's run, or if the report has an account that nobody has
        looked up yet.

        Args:
            asked_at: when the report was requested, on the monotonic clock. A newer chart is not requested again.
            unknown: the ids of the report's accounts that the chart does not have.
        """
        return self._facts.refresh_accounts(unknown, asked_at)

    def fetch_profit_and_loss(self, week: Period | WeekRange, *, cash_basis: bool) -> Json:
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

    def fetch_bank_summary(self, week: Period | WeekRange) -> Json:
        return self._apis.get(
            "Reports/BankSummary",
            "get_report_bank_summary",
            self.tenant_id,
            from_date=week.start,
            to_date=week.ending,
        )

    def fetch_invoices(self, week: Period | WeekRange) -> DocumentListing:
        """Fetch the weeks' sales invoices with their lines, authorised or paid."""
        documents = DocumentsInMemory()
        return DocumentListing(documents, self.read_invoices(week, documents))

    def read_invoices(self, weeks: Period | WeekRange, sink: DocumentSink) -> Difference | None:
        """Read the weeks' sales invoices into the sink. See `ListReader.read`."""
        return self._lists.read(request_invoices(weeks), sink)

    def count_invoices(self, weeks: Period | WeekRange) -> int | None:
        """Ask how many invoices `fetch_invoices` would return; `None` if the server does not count its pages."""
        return self._lists.count(request_invoices(weeks))

    def fetch_credit_notes(self, week: Period | WeekRange) -> DocumentListing:
        """Fetch the weeks' credit notes to customers with their lines, in every status."""
        documents = DocumentsInMemory()
        return DocumentListing(documents, self.read_credit_notes(week, documents))

    def read_credit_notes(self, weeks: Period | WeekRange, sink: DocumentSink) -> Difference | None:
        """Read the weeks' credit notes into the sink. See `ListReader.read`."""
        return self._lists.read(request_credit_notes(weeks), sink)

    def fetch_changed_invoices(self, since: datetime) -> list[Json]:
        """Fetch every invoice and bill that was created, edited, voided or deleted since then."""
        documents = DocumentsInMemory()
        self._lists.read_changes(request_changed_invoices(since), documents)
        return list(documents.documents.values())

    def fetch_changed_credit_notes(self, since: datetime) -> list[Json]:
        documents = DocumentsInMemory()
        self._lists.read_changes(request_changed_credit_notes(since), documents)
        return list(documents.documents.values())

    def _get(self, container: str, method: str, **arguments: Any) -> Json:
        return self._apis.get(container, method, self.tenant_id, **arguments)


class DocumentListing(list[Json]):
    """The documents of a list, each once.

    Attributes:
        miscount: the difference, if Xero counts more or fewer documents than it lists.
    """

    def __init__(self, documents: DocumentsInMemory, miscount: Difference | None) -> None:
        super().__init__(documents.documents.values())
        self.miscount = miscount


class Xero:
    """A client for each organisation. The assets get it as their resource."""

    def __init__(
        self,
        load_organisations: Callable[[], Sequence[Organisation]],
        make_apis: Callable[[Organisation], XeroApis],
        session: XeroSession,
        kept: KeptFacts | None = None,
    ) -> None:
        self._kept = kept
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
            client = OrganisationClient(organisation, self._make_apis(organisation), self._session, self._kept)
            self._clients[organisation.tenant_id] = client
        # The state of the connection may have changed since the client was made.
        client.organisation = organisation
        return client

    def close(self) -> None:
        self._session.close()
