"""Reads the weeks of a run side by side: those of all its organisations, and of all tables that one process syncs.

Dagster takes the assets of a run one after another. If each read only its own weeks, every table would wait for the
slowest organisation of the table before, and fewer calls would be made than Xero allows. So the first asset of a run
begins the weeks of the assets that follow it in the same process. Whichever of them is running lands every week that
has been read, in Dagster's own thread; an asset whose weeks have landed before its turn only reports them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from xero_pipeline.assets.fetch_ahead import FetchAhead
from xero_pipeline.assets.outcomes import RunScope, TableExtraction
from xero_pipeline.assets.progress import Progress
from xero_pipeline.assets.turns import take_turn
from xero_pipeline.assets.week_landing import WeekLander
from xero_pipeline.assets.week_reading import ReadWeek, WeekReader
from xero_pipeline.assets.week_reports import WeekReports
from xero_pipeline.periods import Period
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.xero.client import OrganisationClient


@dataclass
class TablePart:
    """One table's part of a run.

    Attributes:
        left: how many weeks of organisations are not finished.
        finished: the tenant id and week of those that are.
        stack: closes what the extraction has opened.
    """

    extraction: TableExtraction[Any]
    reader: WeekReader
    reports: WeekReports
    left: int
    stack: ExitStack
    finished: set[tuple[str, Period]] = field(default_factory=set)


Job = tuple[TablePart, OrganisationClient, Period]


class SideBySide:
    """The weeks that one process reads in one run.

    Args:
        extractions: those of the tables, with the keys of their assets. The first ones are begun first.
        at_once: how many weeks of one organisation are read at once.
        others_connected: whether there are connected organisations that this run does not sync.
    """

    def __init__(
        self,
        extractions: Sequence[tuple[TableExtraction[Any], dg.AssetKey]],
        organisations: Sequence[OrganisationClient],
        weeks: Sequence[Period],
        lander: WeekLander,
        progress: Progress,
        *,
        at_once: int,
        others_connected: bool,
    ) -> None:
        self._organisations = organisations
        self._weeks = weeks
        self._lander = lander
        self._progress = progress
        self._at_once = at_once
        self._others_connected = others_connected
        self.parts = {extraction.kind: self._begin_part(extraction, key) for extraction, key in extractions}
        self._context: dg.AssetExecutionContext | None = None
        self._answered = self._read_in_turns()
        self.is_stopped = False

    @property
    def number_of_organisations(self) -> int:
        return len(self._organisations)

    def finish(self, kind: SyncType, context: dg.AssetExecutionContext) -> WeekReports:
        """Land what has been read, of whichever table, until every week of this kind is finished. Report those."""
        part, self._context = self.parts[kind], context
        try:
            part.reports.attend(context)
            if part.left:
                for other, read in self._answered:
                    self._finish_week(other, read)
                    self._mark_if_due(context)
                    if not part.left:
                        break
            part.stack.close()
            if not any(other.left for other in self.parts.values()):
                self._answered.close()
        except BaseException as error:
            # The process is ending, and the run with it.
            self.stop(error)
            self.mark_landed_weeks(context.log_event)
            raise
        return part.reports

    def mark_landed_weeks(self, log_event: Callable[[dg.AssetMaterialization], None]) -> None:
        """Mark the complete weeks of every table that have landed, whatever becomes of the run."""
        for part in self.parts.values():
            part.reports.mark_landed_weeks(log_event)

    def stop(self, error: BaseException) -> None:
        """Read no further week, and close the rows of the weeks that were being read."""
        self.is_stopped = True
        for part in self.parts.values():
            self._lander.interrupt(part.reader, error)
        self._answered.close()
        for part in self.parts.values():
            part.stack.close()

    def _begin_part(self, extraction: TableExtraction[Any], key: dg.AssetKey) -> TablePart:
        stack, warehouse = ExitStack(), self._lander.warehouse
        reader = WeekReader(
            extraction.kind.value,
            warehouse.log,
            self._lander.run_id,
            extraction.begin(RunScope(self._weeks, self._lander.read_landed_revenue, stack)),
            self._weeks,
            read_together=extraction.read_together,
        )
        reports = WeekReports(
            key,
            warehouse,
            extraction.kind,
            self._weeks,
            self._organisations,
            others_connected=self._others_connected,
        )
        return TablePart(extraction, reader, reports, len(self._weeks) * len(self._organisations), stack)

    def _read_in_turns(self) -> Generator[tuple[TablePart, ReadWeek]]:
        """Read every week, first of the organisations that no other run is reading, then of the others."""
        organisations, weeks = self._organisations, self._weeks
        while organisations:
            with take_turn(self._lander.warehouse.locks, organisations, weeks, self._log_wait) as taken:
                yield from FetchAhead(
                    [self._list_lanes(organisation) for organisation in taken],
                    self._read,
                    at_once=self._at_once,
                    is_answered=lambda result: not result[1].is_outage,
                    may_begin=self._may_begin,
                )
            organisations = [one for one in organisations if one not in taken]

    def _list_lanes(self, organisation: OrganisationClient) -> list[list[Job]]:
        return [[(part, organisation, week) for week in self._weeks] for part in self.parts.values()]

    def _may_begin(self, job: Job) -> bool:
        part, organisation, week = job
        before = self.parts.get(part.extraction.after) if part.extraction.after else None
        return before is None or (organisation.tenant_id, week) in before.finished

    @staticmethod
    def _read(job: Job) -> tuple[TablePart, ReadWeek]:
        part, organisation, week = job
        return part, part.reader.read((organisation, week))

    def _finish_week(self, part: TablePart, read: ReadWeek) -> None:
        outcome = self._lander.finish(read)
        part.left -= 1
        part.finished.add((outcome.tenant_id, outcome.week))
        if read.log_id is not None:
            part.reader.end_row(read.log_id)
        if part.reports.add(outcome):
            landed = part.reports.has_landed(read.week)
            self._progress.finish_week(part.extraction.kind.value, read.week, landed=landed)

    def _mark_if_due(self, context: dg.AssetExecutionContext) -> None:
        for part in self.parts.values():
            if part.reports.is_mark_due:
                part.reports.mark_landed_weeks(context.log_event)

    def _log_wait(self, organisation: OrganisationClient) -> None:
        if self._context is not None:
            self._context.log.info("%s: another run reads these weeks, so this one waits", organisation.name)
