"""The mock's organisations and its rate limits, which a test or a deployment can choose."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID
from zoneinfo import ZoneInfo

from xero_pipeline.mock_xero.books.seeded_random import derive_uuid

SYDNEY = ZoneInfo("Australia/Sydney")


@dataclass(frozen=True, slots=True)
class MockOrganisation:
    """One organisation with its own books.

    Attributes:
        layout: the layout of its profit and loss report, a key of `report_layouts.LAYOUTS`.
        seed: decides what the books contain; by default the tenant id.
        documents: roughly how many sales invoices a week has.
        payments_touch_documents: whether a payment moves an invoice's `UpdatedDateUTC`. In Xero it does. Off
            by default, since otherwise every old week looks edited as its invoices are paid.
        silent_edits: whether its books change in old weeks without any document, as `books/invented_edits.py` says.
            Off by default, since the figures of every deployment in mock mode would be restated.
    """

    tenant_id: str = "mock-tenant-001"
    name: str = "Mock Organisation"
    country: str = "AU"
    base_currency: str = "AUD"
    layout: str = "AU"
    seed: str | None = None
    documents: int = 80
    payments_touch_documents: bool = False
    silent_edits: bool = False

    @property
    def books_seed(self) -> str:
        return self.tenant_id if self.seed is None else self.seed

    @property
    def organisation_id(self) -> str:
        """Xero's `OrganisationID`, a UUID. It is the tenant id, as at Xero, where that is a UUID."""
        try:
            return str(UUID(self.tenant_id))
        except ValueError:
            return derive_uuid(self.tenant_id, "organisation")


DEFAULT_ORGANISATIONS = (MockOrganisation(),)


@dataclass(frozen=True, slots=True)
class MockLimits:
    """Xero's rate limits; all but `app_per_minute` count per organisation. A Starter app has 1,000 calls a day."""

    per_minute: int = 60
    per_day: int = 5000
    in_progress: int = 5
    app_per_minute: int = 10000
