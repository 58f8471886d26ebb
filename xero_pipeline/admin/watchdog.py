"""Looks after Dagster from outside: a daemon that has died can run no sensor that says so. Not here: what is
wrong with it, and who is told (`automation/dagster_health.py`)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.automation.dagster_health import DagsterMonitor, check_dagster
from xero_pipeline.dagster_home import open_instance
from xero_pipeline.resources import open_deployment
from xero_pipeline.settings import Settings

log = logging.getLogger(__name__)

_EVERY_SECONDS = 60.0


@contextmanager
def watching_dagster(settings: Settings) -> Iterator[None]:
    """Watch Dagster in a thread of its own for as long as the block runs."""
    stop = threading.Event()
    # A daemon thread: a look that hangs must not keep the process.
    thread = threading.Thread(target=_watch, args=(settings, stop), name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=5)


def _watch(settings: Settings, stop: threading.Event) -> None:
    suspected: dict[str, str] = {}
    while not stop.wait(_EVERY_SECONDS):
        try:
            suspected = _look(settings, suspected)
        except Exception as error:  # noqa: BLE001 - a watchdog that dies of what it sees watches nothing
            log.warning("looking after Dagster failed: %s", type(error).__name__)


def _look(settings: Settings, suspected: dict[str, str]) -> dict[str, str]:
    with open_deployment(settings) as deployment, open_instance(settings) as instance:
        alerter = open_alerter(deployment)
        watch = DagsterMonitor(alerter, deployment.clock, timezone=settings.timezone_name, suspected=suspected)
        check_dagster(instance, alerter, watch)
        return dict(watch.suspected)
