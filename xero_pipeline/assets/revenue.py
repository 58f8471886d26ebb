"""`revenue_weekly`: the week's invoices less credit notes, by revenue type and region.

The documents of all weeks of a run are listed once for each organisation, and divided by their dates.
"""

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import dagster as dg
from sqlalchemy import Connection

from xero_pipeline.assets.columns import build_asset_metadata
from xero_pipeline.assets.document_spool import DocumentSpool
from xero_pipeline.assets.outcomes import ExtractedWeek, RunScope
from xero_pipeline.assets.weekly import build_weekly_asset
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.figures.account_revenue import replace_revenue_by_account
from xero_pipeline.warehouse.figures.document_index import StoredDocument, replace_documents
from xero_pipeline.warehouse.figures.landing import Provenance, ReplaceResult
from xero_pipeline.warehouse.figures.weekly import replace_revenue
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.schema import revenue_weekly as revenue_weekly_table
from xero_pipeline.weeks import Week, WeekRange
from xero_pipeline.xero.client import OrganisationClient
from xero_pipeline.xero.errors import PayloadNotUnderstood, WrongPeriod
from xero_pipeline.xero.readers.reports import Difference
from xero_pipeline.xero.readers.revenue import DocumentRevenue, add_up_revenue, read_revenue
from xero_pipeline.xero.reading import begin_reading


@dataclass
class _Listing:
    """The documents of some weeks of one organisation, listed together."""

    spools: Sequence[DocumentSpool]
    read_at: datetime | None

    def iterate_revenue(self, week: Week) -> Iterator[DocumentRevenue]:
        for spool in self.spools:
            yield from spool.iterate_revenue(week)

    def iterate_counted(self, week: Week) -> Iterator[StoredDocument]:
        for spool in self.spools:
            yield from spool.iterate_counted(week)


@dataclass
class _OrganisationDocuments:
    """What has been listed of one organisation. `alone` are the weeks that have to be read by themselves."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    listing: _Listing | None = None
    alone: set[Week] = field(default_factory=set)


class RevenueExtraction:
    """Extracts the weeks of one run. Safe to use from several threads."""

    def __init__(self, settings: Settings, scope: RunScope) -> None:
        self._settings = settings
        self._tracking = (settings.revenue_tracking, settings.region_tracking)
        self._scope = scope
        self._lock = threading.Lock()
        self._by_organisation: dict[str, _OrganisationDocuments] = {}

    def __call__(self, organisation: OrganisationClient, week: Week) -> ExtractedWeek:
        with self._lock:
            documents = self._by_organisation.setdefault(organisation.tenant_id, _OrganisationDocuments())
        weeks = [one for one in self._scope.weeks if one >= week]
        if len(weeks) > 1 or documents.listing is not None:
            with documents.lock:
                if documents.listing is None and week not in documents.alone:
                    self._list_together(organisation, documents, weeks)
            if documents.listing is not None and week not in documents.alone:
                return self._extract(organisation, week, documents.listing)
        return self._extract_alone(organisation, week)

    def _list_together(
        self, organisation: OrganisationClient, documents: _OrganisationDocuments, weeks: Sequence[Week]
    ) -> None:
        """List the documents of the weeks that are left. Where that cannot work, each is read by itself."""
        weeks_left = WeekRange(weeks[0], weeks[-1])
        try:
            with begin_reading() as reading:
                spools, miscounts = self._read(organisation, weeks_left)
        except (PayloadNotUnderstood, WrongPeriod):
            # It is found out which week has the answer that is not understood.
            documents.alone |= set(weeks)
            return
        unreadable = set().union(*(spool.list_unreadable_weeks() for spool in spools))
        documents.alone |= set(weeks) if miscounts else unreadable
        documents.listing = _Listing(spools, reading.began_at)

    def _read(
        self, organisation: OrganisationClient, weeks: WeekRange
    ) -> tuple[Sequence[DocumentSpool], Sequence[Difference]]:
        currency = organisation.details.base_currency
        invoices, credit_notes = (
            DocumentSpool(weeks, base_currency=currency, tracking=self._tracking) for _ in range(2)
        )
        for spool in (invoices, credit_notes):
            self._scope.stack.callback(spool.close)
        miscounts = [
            organisation.read_invoices(weeks, invoices),
            organisation.read_credit_notes(weeks, credit_notes),
        ]
        return (invoices, credit_notes), [miscount for miscount in miscounts if miscount is not None]

    def _extract(self, organisation: OrganisationClient, week: Week, listing: _Listing) -> ExtractedWeek:
        return self._build(organisation, week, listing, (), listing.read_at)

    def _extract_alone(self, organisation: OrganisationClient, week: Week) -> ExtractedWeek:
        spools, miscounts = self._read(organisation, WeekRange(week, week))
        if any(spool.list_unreadable_weeks() for spool in spools):
            # The documents as a whole say what is wrong with them.
            self._read_whole(organisation, week)
        return self._build(organisation, week, _Listing(spools, None), miscounts, None)

    def _read_whole(self, organisation: OrganisationClient, week: Week) -> None:
        read_revenue(
            organisation.fetch_invoices(week),
            organisation.fetch_credit_notes(week),
            week=week,
            base_currency=organisation.details.base_currency,
            revenue_tracking=self._settings.revenue_tracking,
            region_tracking=self._settings.region_tracking,
        )

    def _build(
        self,
        organisation: OrganisationClient,
        week: Week,
        listing: _Listing,
        miscounts: Sequence[Difference],
        read_at: datetime | None,
    ) -> ExtractedWeek:
        revenue = add_up_revenue(listing.iterate_revenue(week), week=week, tracking=self._tracking)

        def write(connection: Connection, provenance: Provenance) -> ReplaceResult:
            # The revenue comes first: `replace_revenue` waits for any other process that writes the same week.
            result = replace_revenue(connection, provenance, revenue.cells)
            replace_documents(connection, provenance.tenant_id, week, listing.iterate_counted(week))
            replace_revenue_by_account(connection, provenance.tenant_id, week, revenue.by_account)
            return result

        return ExtractedWeek(
            write=write,
            currency=organisation.details.base_currency,
            totals=revenue.totals,
            differences=[*miscounts, *revenue.differences],
            notes=revenue.notes,
            read_at=read_at,
        )


def build_revenue_weekly_asset(settings: Settings, partitions: dg.WeeklyPartitionsDefinition) -> dg.AssetsDefinition:
    """Build the asset for a deployment's settings."""
    return build_weekly_asset(
        "revenue_weekly",
        SyncType.INVOICES,
        lambda scope: RevenueExtraction(settings, scope),
        read_together=True,
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
