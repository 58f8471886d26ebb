"""The resource with which the assets of a run find the weeks that an earlier asset of the same process has begun."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from xero_pipeline.assets.outcomes import TableExtraction
from xero_pipeline.assets.side_by_side import SideBySide
from xero_pipeline.dagster_internals import list_assets_of_process
from xero_pipeline.warehouse.logs.sync_log import SyncType


class RunWeeks:
    """The weeks of one run that this process reads.

    Args:
        extractions: those of all tables. The first ones are begun first.
        list_assets: finds the assets that this process materialises in the run, with the name of each one's op.
    """

    def __init__(
        self,
        extractions: Sequence[TableExtraction[Any]] = (),
        list_assets: Callable[[dg.AssetExecutionContext], Mapping[dg.AssetKey, str]] = list_assets_of_process,
    ) -> None:
        self._extractions = extractions
        self._list_assets = list_assets
        self._waiting: dict[SyncType, SideBySide] = {}
        self._begun: set[SyncType] = set()

    def take(self, kind: SyncType) -> SideBySide | None:
        """Return the weeks that an earlier asset has begun for this kind, once; `None` if none has, or its process was
        to end."""
        begun = self._waiting.pop(kind, None)
        return None if begun is None or begun.is_stopped else begun

    def list_following(
        self, context: dg.AssetExecutionContext, first: TableExtraction[Any]
    ) -> Iterator[tuple[TableExtraction[Any], dg.AssetKey]]:
        """List the extractions of the assets that follow in this process, with their keys, if they sync the same.

        An asset that runs in another process begins its own weeks. So does one that is configured to sync other
        organisations.
        """
        if len(self._extractions) < 2:
            return
        assets, prefix = self._list_assets(context), context.asset_key.path[:-1]
        organisations = _read_organisations(context, assets.get(context.asset_key, ""))
        for extraction in self._extractions:
            key = dg.AssetKey([*prefix, extraction.table])
            if (
                key in assets
                and extraction.kind is not first.kind
                and extraction.kind.period is first.kind.period
                and extraction.kind not in self._begun
                and _read_organisations(context, assets[key]) == organisations
            ):
                yield extraction, key

    def keep(self, begun: SideBySide, first: SyncType) -> None:
        """Keep what the asset of the kind `first` has begun, for the assets that follow."""
        self._begun |= begun.parts.keys()
        self._waiting |= {kind: begun for kind in begun.parts if kind is not first}

    def close(self, instance: dg.DagsterInstance | None) -> None:
        """End what no asset has come for, because the run ended before. What has landed of it is marked."""
        for begun in {id(begun): begun for begun in self._waiting.values()}.values():
            begun.stop(dg.DagsterExecutionInterruptedError())
            if instance is not None:
                begun.mark_landed_weeks(instance.report_runless_asset_event)
        self._waiting.clear()


def build_run_weeks(extractions: Sequence[TableExtraction[Any]]) -> Any:
    """Build the resource. It ends before the warehouse is closed."""

    @dg.resource(
        description="The weeks of a run that are read side by side, for all tables of one process.",
        required_resource_keys={"warehouse"},
    )
    def run_weeks(context: dg.InitResourceContext) -> Iterator[RunWeeks]:
        opened = RunWeeks(extractions)
        try:
            yield opened
        finally:
            opened.close(context.instance)

    return run_weeks


def _read_organisations(context: dg.AssetExecutionContext, op: str) -> frozenset[str]:
    run_config: Mapping[str, Any] = context.run.run_config
    config = run_config.get("ops", {}).get(op, {}).get("config", {})
    return frozenset(config.get("organisations", ()))
