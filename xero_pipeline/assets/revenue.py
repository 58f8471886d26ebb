"""`revenue_weekly`: the week's invoices less credit notes, by revenue type and region."""

import dagster as dg
from sqlalchemy import Connection

from xero_pipeline.assets.columns import build_asset_metadata
from xero_pipeline.assets.outcomes import ExtractedWeek
from xero_pipeline.assets.weekly import build_weekly_asset
from xero_pipeline.settings import Settings
from xero_pipeline.warehouse.figures.account_revenue import replace_revenue_by_account
from xero_pipeline.warehouse.figures.document_index import StoredDocument, replace_documents
from xero_pipeline.warehouse.figures.landing import Provenance, ReplaceResult
from xero_pipeline.warehouse.figures.weekly import replace_revenue
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.warehouse.schema import revenue_weekly as revenue_weekly_table
from xero_pipeline.weeks import Week
from xero_pipeline.xero.client import Json, OrganisationClient
from xero_pipeline.xero.readers.document_state import read_document_state
from xero_pipeline.xero.readers.documents import is_counted, read_revenue


def _build_stored_document(document: Json) -> StoredDocument:
    state = read_document_state(document)
    return StoredDocument(state.key, state.week, state.figures, state.payments, state.edited_at)


def build_revenue_weekly_asset(settings: Settings, partitions: dg.WeeklyPartitionsDefinition) -> dg.AssetsDefinition:
    """Build the asset for a deployment's settings."""

    def extract(organisation: OrganisationClient, week: Week) -> ExtractedWeek:
        invoices, credit_notes = organisation.fetch_invoices(week), organisation.fetch_credit_notes(week)
        revenue = read_revenue(
            invoices,
            credit_notes,
            week=week,
            base_currency=organisation.details.base_currency,
            revenue_tracking=settings.revenue_tracking,
            region_tracking=settings.region_tracking,
        )
        counted = [_build_stored_document(json) for json in [*invoices, *credit_notes] if is_counted(json)]

        def write(connection: Connection, provenance: Provenance) -> ReplaceResult:
            # The revenue comes first: `replace_revenue` waits for any other process that writes the same week.
            result = replace_revenue(connection, provenance, revenue.cells)
            replace_documents(connection, provenance.tenant_id, week, counted)
            replace_revenue_by_account(connection, provenance.tenant_id, week, revenue.by_account)
            return result

        return ExtractedWeek(
            write=write,
            currency=organisation.details.base_currency,
            totals=revenue.totals,
            differences=[*filter(None, (invoices.miscount, credit_notes.miscount)), *revenue.differences],
            notes=revenue.notes,
        )

    return build_weekly_asset(
        "revenue_weekly",
        SyncType.INVOICES,
        extract,
        settings=settings,
        partitions=partitions,
        metadata=build_asset_metadata(revenue_weekly_table),
        description="The week's sales invoices less credit notes, without tax and in base currency, summed from "
        "their lines by revenue type and region: one row for each organisation, week and cell.\n\n"
        "Authorised and paid documents count, by their date. The type and the region are the lines' tracking options "
        f"`{settings.revenue_tracking}` and `{settings.region_tracking}`; a line without one is `unallocated`.",
    )
