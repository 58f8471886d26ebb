"""What a second process does in `test_alerts.py`, in a module of its own with few imports, so that it starts fast."""

from __future__ import annotations

from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier

from xero_pipeline.automation.alerts import Alerter
from xero_pipeline.warehouse.database.engine import open_engine
from xero_pipeline.warehouse.logs.alert_log import AlertLog
from xero_pipeline_tests.conftest import FakeClock


def fail_again_and_again(database: str, address: str, start: Barrier) -> None:
    engine = open_engine(database)
    alerter = Alerter(AlertLog(engine), [address], FakeClock(datetime(2026, 11, 24, 1, tzinfo=UTC)))
    start.wait()
    for _ in range(5):
        alerter.report_problem("cause", "Sync failed", "It failed.")
        alerter.flush()
    engine.dispose()
