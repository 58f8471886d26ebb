"""skeleton"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Difference:
    """Figures that landed but do not add up against Xero's own total. Printed, it is a sentence for people."""

    where: str
    stated: Decimal
    found: Decimal

    def __str__(self) -> str:
        off = self.found - self.stated
        return f"{self.where}: Xero states {self.stated}, the figures give {self.found} (off by {off})."

    def as_dict(self) -> dict[str, str]:
        """As JSON can hold it, amounts as text."""
        return {
            "where": self.where,
            "stated": str(self.stated),
            "found": str(self.found),
            "difference": str(self.found - self.stated),
        }
