"""The three roles. A higher one may do everything that a lower one may."""

from __future__ import annotations

from enum import StrEnum


class AccessRole(StrEnum):
    """What a person may do."""

    VIEWER = "viewer"
    """Sees figures, logs and the status."""
    OPERATOR = "operator"
    """Also syncs, switches the scheduler, and uses Dagster's UI."""
    OWNER = "owner"
    """Also connects, disconnects, and manages access."""

    def includes(self, other: AccessRole) -> bool:
        """Whether this role may do what `other` may."""
        return _ORDER.index(self) >= _ORDER.index(other)


_ORDER = (AccessRole.VIEWER, AccessRole.OPERATOR, AccessRole.OWNER)
