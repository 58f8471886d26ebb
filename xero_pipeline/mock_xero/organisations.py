"""Which organisations the mock has, and how strict it is: what a test or a deployment chooses."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

SYDNEY = ZoneInfo("Australia/Sydney")


@dataclass(frozen=True, slots=True)
class MockOrganisation:
    """An organisation with books of its own.

    Attributes:
        layout: how its profit and loss report is laid out: one of `report_layouts.LAYOUTS`.
        seed: other seeds, other books; by default the tenant's id.
        documents: how many sales documents a week has, about.
        payments_touch_documents: whether a payment moves an invoice's `UpdatedDateUTC`. At Xero it does; off
            by default, since it makes every old week look edited as its invoices are paid.
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
    """Xero's limits; the first three for each organisation. A Starter app has 1,000 a day."""

    per_minute: int = 60
    per_day: int = 5000
    in_progress: int = 5
    app_per_minute: int = 10000
