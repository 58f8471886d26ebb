"""Two figures that should be one: what both Xero's side and the database's side report of a `partial` week."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Difference:
    """A stated figure and the one that was computed from its parts; or, with a `doubt`, two readings that both fit."""

    where: str
    stated: Decimal
    computed: Decimal
    doubt: str = ""
    """Why both figures can be right."""

    def __str__(self) -> str:
        if self.doubt:
            return f"{self.where}: {self.stated} or {self.computed}, because {self.doubt}"
        return f"{self.where}: Xero states {self.stated}, its parts add up to {self.computed}"

    def as_dict(self) -> dict[str, str]:
        """As `error_log` keeps it. `doubt` is present only where there is one."""
        entry = {
            "where": self.where,
            "stated": str(self.stated),
            "found": str(self.computed),
            "difference": str(self.stated - self.computed),
        }
        return entry | ({"doubt": self.doubt} if self.doubt else {})
