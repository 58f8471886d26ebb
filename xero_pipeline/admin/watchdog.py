"""Checks Dagster from outside: a daemon that has died can run no sensor that reports it.

`automation/dagster_health.py` decides what is wrong and sends the alerts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from xero_pipeline.admin.dagster_api import DagsterClient, NoCodeLocation
from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.automation.dagster_health import DagsterMonitor, check_dagster
from xero_pipeline.dagster_home import open_instance
from xero_pipeline.errors import PipelineError
from xero_pipeline.resources import open_deployment
from xero_pipeline.settings import Settings

log = logging.getLogger(__name__)

_INTERVAL_SECONDS = 60.0


@contextmanager
def watch_dagster(settings: Settings, dagster: DagsterClient) -> Iterator[None]:
    """Check Dagster every minute, in a thread of its own, while the block runs."""
    stop = threading.Event()
    # A daemon thread: a check that hangs must not keep the process alive.
    thread = threading.Thread(target=_check_repeatedly, args=(settings, dagster, stop), name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


def _check_repeatedly(settings: Settings, dagster: DagsterClient, stop: threading.Event) -> None:
    suspected: dict[str, str] = {}
    while not stop.wait(_INTERVAL_SECONDS):
        try:
            suspected = _check_once(settings, dagster, suspected)
        except Exception as error:  # noqa: BLE001 - the watchdog must go on after any error
            log.warning("checking Dagster failed: %s", type(error).__name__)


def _check_once(settings: Settings, dagster: DagsterClient, suspected: dict[str, str]) -> dict[str, str]:
    with open_deployment(settings) as deployment, open_instance(settings) as instance:
        alerter = open_alerter(deployment)
        monitor = DagsterMonitor(alerter, deployment.clock, timezone=settings.timezone_name, suspected=suspected)
        check_dagster(instance, alerter, monitor, has_code=_has_code(dagster))
        return dict(monitor.suspected)


def _has_code(dagster: DagsterClient) -> bool | None:
    """Whether Dagster has loaded the pipeline's code; `None` when Dagster cannot be asked."""
    try:
        dagster.check()
    except NoCodeLocation:
        return False
    except PipelineError:
        return None
    return True
