"""A plain HTTP server in place of Xero: it answers with the payloads of a test and has no books of its own.

Everything else is real: the settings of an app, client credentials, the client, a Dagster run.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg

from xero_pipeline.automation.jobs import build_range_tags
from xero_pipeline.connection import ConnectionService
from xero_pipeline.definitions import build_defs
from xero_pipeline.resources import Deployment
from xero_pipeline.settings import load_settings
from xero_pipeline.weeks import Week
from xero_pipeline_tests.deployment import remove_checks
from xero_pipeline_tests.migrated import make_tables
from xero_pipeline_tests.servers import Answer, ScriptedServer, SeenRequest

TENANT = "fe79f7dd-b6d4-4a92-ba7b-538af6289c58"

Payload = dict[str, Any] | list[Any]
Route = Payload | Answer | Callable[[SeenRequest], Any]

HEADER_ONLY = [{"RowType": "Header", "Cells": [{"Value": ""}, {"Value": "21 Nov 26"}]}]
BANK_TITLES = ("Bank Accounts", "Opening Balance", "Cash Received", "Cash Spent", "Closing Balance")
BANK_HEADER = [{"RowType": "Header", "Cells": [{"Value": title} for title in BANK_TITLES]}]
EMPTY_PROFIT_AND_LOSS: dict[str, Any] = {
    "Status": "OK",
    "Reports": [
        {"ReportTitles": ["Profit & Loss", "Example", "15 November 2026 to 21 November 2026"], "Rows": HEADER_ONLY}
    ],
}
EMPTY_BANK_SUMMARY: dict[str, Any] = {
    "Status": "OK",
    "Reports": [
        {"ReportTitles": ["Bank Summary", "Example", "From 15 November 2026 to 21 November 2026"], "Rows": BANK_HEADER}
    ],
}


def set_report_week(payload: dict[str, Any], week: Week) -> dict[str, Any]:
    """Return the report with that week as the period in its title, in Xero's format."""
    payload = copy.deepcopy(payload)
    start, end = (f"{day.day} {day:%B %Y}" for day in (week.start, week.ending))
    for report in payload["Reports"]:
        prefix = "From " if report["ReportTitles"][-1].startswith("From ") else ""
        report["ReportTitles"][-1] = f"{prefix}{start} to {end}"
    return payload


class PlainXero:
    """Routes requests by the last part of the path. The default routes are those of an organisation without books."""

    def __init__(self, **routes: Route) -> None:
        self.routes: dict[str, Route] = {
            "token": {"access_token": "an-access-token", "expires_in": 1800, "token_type": "Bearer"},
            "connections": [{"id": "c-1", "tenantId": TENANT, "tenantName": "Demo", "tenantType": "ORGANISATION"}],
            "Organisation": {"Organisations": [{"Name": "Demo", "BaseCurrency": "NZD", "CountryCode": "NZ"}]},
            "Accounts": {"Accounts": []},
            "ProfitAndLoss": lambda request: self._report(EMPTY_PROFIT_AND_LOSS, request),
            "BankSummary": lambda request: self._report(EMPTY_BANK_SUMMARY, request),
            "Invoices": {"Invoices": []},
            "CreditNotes": {"CreditNotes": []},
            **routes,
        }

    def __call__(self, request: SeenRequest) -> Answer:
        route = self.routes.get(request.path.rstrip("/").rsplit("/", 1)[-1])
        if route is None:
            return Answer(404, body="The resource you're looking for cannot be found")
        answer = route(request) if callable(route) else route
        return answer if isinstance(answer, Answer) else Answer(json=answer)

    @staticmethod
    def _report(payload: dict[str, Any], request: SeenRequest) -> dict[str, Any]:
        return set_report_week(payload, Week(date.fromisoformat(request.query["toDate"])))


def report_route(payload: dict[str, Any]) -> Callable[[SeenRequest], dict[str, Any]]:
    """Return a route that answers with this report for any requested week."""
    return lambda request: set_report_week(payload, Week(date.fromisoformat(request.query["toDate"])))


@contextmanager
def open_connected_deployment(
    folder: Path, xero: PlainXero, **settings: Any
) -> Iterator[tuple[Deployment, ScriptedServer]]:
    """Open a migrated deployment that is connected to a server with `xero` by client credentials."""
    with ScriptedServer(xero) as server:
        loaded = load_settings(
            XERO_MOCK_MODE="false",
            XERO_CLIENT_ID="app",
            XERO_CLIENT_SECRET="app-secret",
            XERO_ENCRYPTION_KEY="5e" * 32,
            XERO_GRANT="client_credentials",
            XERO_API_URL=server.url,
            XERO_IDENTITY_URL=server.url,
            XERO_LOGIN_URL=server.url,
            XERO_CALLS_PER_MINUTE=100_000,
            XERO_CALLS_PER_DAY=100_000,
            DAGSTER_HOME=str(folder),
            PIPELINE_START_DATE="2018-01-07",
            PIPELINE_TIMEZONE="UTC",
            **settings,
        )
        with Deployment(loaded) as deployment:
            make_tables(deployment.warehouse.engine)
            ConnectionService(deployment).connect_custom()
            yield deployment, server


def sync(
    deployment: Deployment, first: Week, last: Week | None = None, *, checks: bool = False
) -> dg.ExecuteInProcessResult:
    """Materialise the weeks through Dagster, in this process."""
    definitions = build_defs(
        settings=deployment.settings,
        resource_overrides={"xero": deployment.xero, "warehouse": deployment.warehouse, "deployment": deployment},
    )
    job = definitions.resolve_job_def("weekly_sync")
    with dg.DagsterInstance.ephemeral() as instance:
        return (job if checks else remove_checks(job)).execute_in_process(
            instance=instance, tags=build_range_tags(first, last or first), raise_on_error=False
        )


def read_sync_results(deployment: Deployment) -> Mapping[str, Any]:
    """Return the status and the error log of the newest sync-log row of each kind."""
    entries = deployment.warehouse.log.list_newest(3)
    return {entry.sync_type: (entry.status, json.dumps(entry.error_log)) for entry in entries}
