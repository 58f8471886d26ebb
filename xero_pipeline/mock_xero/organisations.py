"""The mock's organisations and its rate limits, which a test or a deployment can choose."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

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
    """

    tenant_id: str = "mock-tenant-001"
    name: str = "Mock Organisation"
    country: str = "AU"
    base_currency: str = "AUD"
    layout: str = "AU"
    seed: str | None = None
    documents: int = 80
    payments_touch_documents: bool = False

    @property
    def books_seed(self) -> str:
        return self.tenant_id if self.seed is None else self.seed


DEFAULT_ORGANISATIONS = (MockOrganisation(),)


@dataclass(frozen=True, slots=True)
class MockLimits:
    """Xero's rate limits; all but `app_per_minute` count per organisation. A Starter app has 1,000 calls a day."""

    per_minute: int = 60
    per_day: int = 5000
    in_progress: int = 5
    app_per_minute: int = 10000
