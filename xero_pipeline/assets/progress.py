"""How a sync reports its progress. In Dagster a run has its log; on the command line a person sees a progress bar."""

from __future__ import annotations

from typing import Protocol

from xero_pipeline.periods import Period


class Progress(Protocol):
    """Receives the progress of a run. Its methods must not raise."""

    def begin(self, sync_type: str, weeks: int) -> None:
        """An asset begins to sync this many weeks or months."""
        ...

    def finish_week(self, sync_type: str, week: Period, *, landed: bool) -> None:
        """A week or month is done; `landed` is false where it failed for some organisation."""
        ...


class NoProgress:
    """Shows nothing."""

    def begin(self, sync_type: str, weeks: int) -> None:
        del sync_type, weeks

    def finish_week(self, sync_type: str, week: Period, *, landed: bool) -> None:
        del sync_type, week, landed
