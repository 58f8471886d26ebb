"""How far a sync has come, told to whoever watches. A run in Dagster has its log; a person has a terminal."""

from __future__ import annotations

from typing import Protocol

from xero_pipeline.weeks import Week


class Progress(Protocol):
    """Told of each week; must not fail."""

    def begin(self, sync_type: str, weeks: int) -> None: ...

    def week_done(self, sync_type: str, week: Week, *, landed: bool) -> None: ...


class NoProgress:
    """Nobody watches."""

    def begin(self, sync_type: str, weeks: int) -> None:
        del sync_type, weeks

    def week_done(self, sync_type: str, week: Week, *, landed: bool) -> None:
        del sync_type, week, landed
