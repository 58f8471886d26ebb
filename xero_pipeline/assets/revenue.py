"""`revenue_weekly`: the week's invoices less credit notes, by revenue type and region.

The documents of all weeks of a run are listed once for each organisation, and divided by their dates.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import dagster as dg
from sqlalchemy import Connection

from xero_pipeline.assets.columns import build_asset_metadata
from xero_pipeline.assets.document_spool import DocumentSpool
from xero_pipeline.assets.outcomes import ExtractedWeek, RunScope, TableExtraction
from xero_pipeline.assets.revenue_rows import build_revenue_documents
from xero_pipeline.assets.weekly import build_figures_asset
from xero_pipeline.errors import PipelineError
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.figures.account_revenue import replace_revenue_by_account
from xero_pipeline.warehouse.figures.document_index import StoredDocument, replace_documents
from xero_pipeline.warehouse.figures.landing import Provenance, ReplaceResult
from xero_pipeline.warehouse.figures.revenue_documents import replace_revenue_documents
from xero_pipeline.warehouse.figures.weekly import replace_revenue
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.schema import revenue_weekly as revenue_weekly_table
from xero_pipeline.weeks import Week, WeekRange
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.errors import PayloadNotUnderstood
from xero_pipeline.xero.readers.reports import Difference
from xero_pipeline.xero.readers.revenue import DocumentRevenue, add_up_revenue
from xero_pipeline.xero.reading import begin_reading


@dataclass
class _Listing:
    """The documents of some weeks of one organisation, listed together.

    Attributes:
        miscounts: where Xero counts more or fewer documents than it lists.
        read_at: when Xero worked on the first page.
    """

    spools: Sequence[DocumentSpool]
    miscounts: Sequence[Difference]
    read_at: datetime | None
    errors: Mapping[Week | None, PipelineError] = field(init=False)

    def __post_init__(self) -> None:
        self.errors = {week: error for spool in self.spools for week, error in spool.find_errors().items()}

    @property
    def is_of_unknown_week(self) -> bool:
        """Whether something is wrong with the list that may concern any of its weeks."""
        return bool(self.miscounts) or None in self.errors

    def iterate_revenue(self, week: Week) -> Iterator[DocumentRevenue]:
        for spool in self.spools:
            yield from spool.iterate_revenue(week)

    def iterate_counted(self, week: Week) -> Iterator[StoredDocument]:
        for spool in self.spools:
            yield from spool.iterate_counted(week)


@dataclass
class _OrganisationDocuments:
    """What has been listed of one organisation. `alone` is whether each week has to be read by itself."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    listing: _Listing | None = None
    alone: bool = False


class RevenueExtraction:
    """Extracts the weeks of one run. Safe to use from several threads."""

    def __init__(self, settings: Settings, scope: RunScope[Week]) -> None:
        self._tracking = (settings.revenue_tracking, settings.region_tracking)
        self._keep_contact_names = settings.keep_contact_names
        self._scope = scope
        self._lock = threading.Lock()
        self._by_organisation: dict[str, _OrganisationDocuments] = {}

    def __call__(self, organisation: OrganisationClient, week: Week) -> ExtractedWeek:
        with self._lock:
            documents = self._by_organisation.setdefault(organisation.tenant_id, _OrganisationDocuments())
        with documents.lock:
            if documents.listing is None and not documents.alone:
                self._list_together(organisation, documents, week)
            listing = documents.listing
        if listing is None:
            listing = self._list(organisation, WeekRange(week, week))
        return self._build(organisation, week, listing)

    def _list_together(self, organisation: OrganisationClient, documents: _OrganisationDocuments, first: Week) -> None:
        """List the documents of the weeks that are left. Where they cannot be told apart, each is read by itself."""
        weeks = WeekRange(first, self._scope.weeks[-1])
        try:
            listing = self._list(organisation, weeks)
        except PayloadNotUnderstood:
            if len(weeks) == 1:
                raise
            documents.alone = True
            return
        if listing.is_of_unknown_week and len(weeks) > 1:
            documents.alone = True
        else:
            documents.listing = listing

    def _list(self, organisation: OrganisationClient, weeks: WeekRange) -> _Listing:
        currency = organisation.details.base_currency
        invoices, credit_notes = (
            DocumentSpool(weeks, base_currency=currency, tracking=self._tracking) for _ in range(2)
        )
        for spool in (invoices, credit_notes):
            self._scope.stack.callback(spool.close)
        with begin_reading() as reading:
            miscounts = [
                organisation.read_invoices(weeks, invoices),
                organisation.read_credit_notes(weeks, credit_notes),
            ]
        found = [miscount for miscount in miscounts if miscount is not None]
        return _Listing((invoices, credit_notes), found, reading.began_at)

    def _build(self, organisation: OrganisationClient, week: Week, listing: _Listing) -> ExtractedWeek:
        for unreadable in (week, None):
            if unreadable in listing.errors:
                raise listing.errors[unreadable]
        revenue = add_up_revenue(listing.iterate_revenue(week), week=week, tracking=self._tracking)

        short_code = organisation.details.short_code

        def write(connection: Connection, provenance: Provenance) -> ReplaceResult:
            # The revenue comes first: `replace_revenue` waits for any other process that writes the same week.
            result = replace_revenue(connection, provenance, revenue.cells)
            replace_documents(connection, provenance.tenant_id, week, listing.iterate_counted(week))
            replace_revenue_by_account(connection, provenance.tenant_id, week, revenue.by_account)
            documents = build_revenue_documents(
                listing.iterate_revenue(week), short_code, keep_contact_names=self._keep_contact_names
            )
            return replace(result, documents=replace_revenue_documents(connection, provenance, documents))

        return ExtractedWeek(
            write=write,
            currency=organisation.details.base_currency,
            totals=revenue.totals,
            differences=[*listing.miscounts, *revenue.differences],
            notes=revenue.notes,
            read_at=listing.read_at,
        )


def build_revenue_extraction(settings: Settings) -> TableExtraction[Week]:
    """Build how the revenue of weeks is extracted."""
    return TableExtraction(
        revenue_weekly_table.name,
        SyncType.INVOICES,
        lambda scope: RevenueExtraction(settings, scope),
        read_together=True,
    )


def build_revenue_weekly_asset(settings: Settings, partitions: dg.WeeklyPartitionsDefinition) -> dg.AssetsDefinition:
    """Build the asset for a deployment's settings."""
    return build_figures_asset(
        build_revenue_extraction(settings),
        # A profit and loss without any line is compared with the revenue that the run has landed.
        goes_first=True,
        settings=settings,
        partitions=partitions,
        metadata=build_asset_metadata(revenue_weekly_table),
        description="The week's sales invoices less credit notes, without tax and in base currency, summed from "
        "their lines by revenue type and region: one row for each organisation, week and cell.\n\n"
        "Authorised and paid documents count, by their date. The type and the region are the lines' tracking options "
        f"`{settings.revenue_tracking}` and `{settings.region_tracking}`; a line without one is `unallocated`.",
    )
