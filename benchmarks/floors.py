"""What the surroundings of a sync cost at least: the same Dagster events doing nothing, the same answers thrown away.

`python -m benchmarks.floors dagster HOME WEEKS` materialises three assets of WEEKS partitions in one run, in a process
of its own with Dagster's storage in HOME as `dagster.yaml` says, and writes one line into the run's log for each week
of each asset. `python -m benchmarks.floors http URL WEEKS` asks the server for what a sync asks, one call after the
other, and reads the answers' bytes.
"""

import sys
from datetime import UTC, date, datetime, timedelta
from typing import Any

FIRST_DAY = date(2014, 1, 5)


def materialise_nothing(weeks: int) -> None:
    import logging

    import dagster as dg

    partitions = dg.WeeklyPartitionsDefinition(start_date=FIRST_DAY.isoformat(), end_offset=0)
    logging.getLogger("dagster").setLevel(logging.CRITICAL)

    def build(name: str) -> dg.AssetsDefinition:
        @dg.asset(name=name, partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run())
        def nothing(context) -> None:  # type: ignore[no-untyped-def]
            for number, key in enumerate(context.partition_keys):
                context.log.info("week %d of %d, ending %s: 2 calls", number, weeks, key)

        return nothing

    assets = [build(name) for name in ("financial_weekly", "revenue_weekly", "cash_position_weekly")]
    definitions = dg.Definitions(
        assets=assets, jobs=[dg.define_asset_job("weekly", assets)], executor=dg.in_process_executor
    )
    keys = partitions.get_partition_keys()[-weeks:]
    tags = {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}
    with dg.DagsterInstance.get() as instance:
        result = definitions.resolve_job_def("weekly").execute_in_process(
            instance=instance,
            tags=tags,
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    if not result.success:
        sys.exit("the empty run failed")


def read_and_throw_away(url: str, weeks: int) -> None:
    import requests

    from benchmarks.xero_server import get_tenant

    api, headers = f"{url}/api.xro/2.0", {"xero-tenant-id": get_tenant(0), "authorization": "Bearer a"}
    last = FIRST_DAY + timedelta(days=(datetime.now(UTC).date() - FIRST_DAY).days // 7 * 7 - 1)
    first = last - timedelta(days=7 * weeks - 1)
    with requests.Session() as session:

        def get(path: str, **query: Any) -> int:
            return len(session.get(f"{api}/{path}", params=query, headers=headers, timeout=60).content)

        get("Organisation"), get("Accounts")
        end = last + timedelta(days=1)
        where = f"Date>=DateTime({first:%Y, %m, %d}) AND Date<DateTime({end:%Y, %m, %d})"
        for name, key in (("Invoices", "InvoiceID"), ("CreditNotes", "CreditNoteID")):
            page = 1
            while get(name, where=where, order=f"{key} ASC", page=page, pageSize=1000) > 2000:
                page += 1
        for number in range(weeks):
            start = first + timedelta(days=7 * number)
            dates = {"fromDate": start.isoformat(), "toDate": (start + timedelta(days=6)).isoformat()}
            get("Reports/ProfitAndLoss", **dates), get("Reports/BankSummary", **dates)


def main() -> None:
    kind, where, weeks = sys.argv[1:4]
    if kind == "dagster":
        materialise_nothing(int(weeks))
    else:
        read_and_throw_away(where, int(weeks))


if __name__ == "__main__":
    main()
