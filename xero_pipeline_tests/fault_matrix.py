"""Trials of faults: a sync while Xero answers wrongly, and a clean sync two minutes later that must put all right.

A trial edits the books, lets the access token expire, arms its faults and syncs the week, whatever comes of that. Two
minutes later (and after a spent day another day later) it syncs again without faults. Then every table must equal the
books. In between only `connection_health` looks, as its sensor does each minute. Nobody does anything.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from xero_pipeline.assets.extractions import build_extractions
from xero_pipeline.assets.outcomes import BeginExtracting, RunScope
from xero_pipeline.assets.week_landing import WeekLander
from xero_pipeline.assets.week_reading import WeekReader
from xero_pipeline.automation.alerts import open_alerter
from xero_pipeline.automation.connection_health import ConnectionMonitor
from xero_pipeline.grants import ConnectionStatus
from xero_pipeline.mock_xero import FaultKind, MockFault
from xero_pipeline.warehouse.logs.sync_log import WEEKLY_TYPES, LogEntry, SyncType
from xero_pipeline.xero.client import Xero
from xero_pipeline_tests.deployment import TENANT, RunningDeployment

ENDPOINTS = {
    "token": "/connect/token$",
    "Organisation": "/Organisation$",
    "Accounts": "/Accounts$",
    "ProfitAndLoss": "/Reports/ProfitAndLoss$",
    "BankSummary": "/Reports/BankSummary$",
    "Invoices": "/Invoices$",
    "CreditNotes": "/CreditNotes$",
}

# The tables whose sync asks an endpoint that not every sync asks.
_TABLE_OF = {
    "Accounts": SyncType.PROFIT_AND_LOSS,
    "ProfitAndLoss": SyncType.PROFIT_AND_LOSS,
    "BankSummary": SyncType.BANK_SUMMARY,
    "Invoices": SyncType.INVOICES,
    "CreditNotes": SyncType.INVOICES,
}


def _status(status: int, body: str = "", **headers: str) -> MockFault:
    return MockFault(
        FaultKind.STATUS,
        status=status,
        body=body,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def _limit(problem: str | None, retry_after: str | None) -> MockFault:
    headers = {"X_Rate_Limit_Problem": problem, "Retry_After": retry_after}
    return _status(429, **{name: value for name, value in headers.items() if value is not None})


FAULTS = {
    "400": _status(400, '{"Message": "A validation exception occurred"}'),
    "400 invalid_grant": _status(400, '{"error": "invalid_grant"}'),
    "401 TokenExpired": _status(401, '{"Title": "Unauthorized", "Status": 401, "Detail": "TokenExpired"}'),
    "401 insufficient_scope": _status(401, '{"Detail": "AuthorizationUnsuccessful"}'),
    "401 invalid_client": _status(401, '{"error": "invalid_client"}'),
    "403 AuthenticationUnsuccessful": _status(403, '{"Detail": "AuthenticationUnsuccessful"}'),
    "403 no reports": MockFault(FaultKind.NO_REPORTS),
    "404": _status(404, "The resource you're looking for cannot be found"),
    "408": _status(408),
    "429 minute": _limit("minute", "30"),
    "429 minute for ever": _limit("minute", "99999999999"),
    "429 appminute": _limit("appminute", "30"),
    "429 concurrent": _limit("concurrent", None),
    "429 day": _limit("day", "66975"),
    "429 of no kind": _limit(None, None),
    "302": _status(302, Location="https://example.com/"),
    "500": _status(500),
    "503 for half an hour": _status(503, Retry_After="1800"),
    "200 HTML": _status(200, "<html><p>Sign in to the hotel's network</p></html>"),
    "200 empty": _status(200),
    "200 {}": _status(200, "{}"),
    "200 []": _status(200, "[]"),
    "200 null": _status(200, "null"),
    "200 Status ERROR": _status(200, '{"Status": "ERROR"}'),
    "dropped unhandled": MockFault(FaultKind.DROP, handled=False),
    "dropped": MockFault(FaultKind.DROP),
    "timed out": MockFault(FaultKind.TIME_OUT),
    "cut": MockFault(FaultKind.CUT),
    "truncated": MockFault(FaultKind.TRUNCATE),
    "invalid JSON": MockFault(FaultKind.INVALID_JSON),
    "ignored dates": MockFault(FaultKind.IGNORE_DATES),
}


@dataclass(frozen=True, slots=True)
class TrialFault:
    """A fault at an endpoint: for one request, or for every request of the sync."""

    endpoint: str
    fault: str
    is_lasting: bool = False

    def build(self) -> MockFault:
        return replace(FAULTS[self.fault], path=ENDPOINTS[self.endpoint], times=None if self.is_lasting else 1)

    def __str__(self) -> str:
        return f"{self.endpoint}: {self.fault}{' (lasting)' if self.is_lasting else ''}"


class FaultMatrix:
    """Tries faults on one deployment, one trial after the other."""

    def __init__(self, deployed: RunningDeployment) -> None:
        self._deployed = deployed
        self._week = deployed.latest
        self._extracts = list(_list_extracts(deployed))
        documents = deployed.mock.books(TENANT).documents(self._week)
        self._edited = next(document for document in documents if document.kind.value == "ACCREC")
        self._runs = 0

    def try_faults(self, *faults: TrialFault) -> str | None:
        """Return what is wrong after the clean sync; `None` if nothing is.

        Of several faults, only the tables are synced whose sync meets one: that takes half the time.
        """
        met = {_TABLE_OF[fault.endpoint] for fault in faults if fault.endpoint in _TABLE_OF}
        kinds = set(SyncType) if len(faults) == 1 else met or {SyncType.BANK_SUMMARY}
        deployed, mock = self._deployed, self._deployed.mock
        self.edit(Decimal("1.00"))
        for fault in faults:
            mock.add_fault(fault.build())
        entries = self.sync_week(kinds)
        mock.clear_faults()
        if problem := self.find_wrong_failure(entries):
            return problem
        deployed.clock.advance(minutes=1)
        self._check_connections()
        deployed.clock.advance(minutes=1)
        entries = self.sync_week(kinds)
        if any(fault.fault == "429 day" for fault in faults):
            deployed.clock.advance(days=1)
            entries = self.sync_week(kinds)
        failed = [entry for entry in entries if entry.status != "success"]
        if failed:
            return f"the clean sync failed: {[(entry.sync_type, entry.error_log) for entry in failed]}"
        return self.compare_with_books(kinds)

    def edit(self, change: Decimal) -> None:
        """Edit an invoice of the week, half an hour later: the access token has expired."""
        self._deployed.clock.advance(minutes=31)
        self._deployed.mock.edit_invoice(TENANT, self._edited.id, change=change)

    def sync_week(self, kinds: Collection[SyncType]) -> list[LogEntry]:
        """Sync the week as a new run does, but without Dagster, which would take most of the time."""
        deployment = self._deployed.deployment
        self._runs += 1
        run_id = f"run-{self._runs}"
        xero = Xero(
            deployment.warehouse.tokens.list_organisations,
            lambda organisation: deployment.build_apis(organisation.tenant_id),
            deployment.session,
        )
        for kind, begin in self._extracts:
            if kind not in kinds:
                continue
            lander = WeekLander(deployment.warehouse, "xero_mock", run_id)
            organisations = xero.list_organisations()
            with ExitStack() as stack:
                extract = begin(RunScope([self._week], lander.read_landed_revenue, stack))
                reader = WeekReader(
                    kind.value, deployment.warehouse.log, run_id, extract, [self._week], read_together=False
                )
                for organisation in organisations:
                    lander.finish(reader.read((organisation, self._week)))
        return deployment.warehouse.log.list_for_run(run_id)

    def find_wrong_failure(self, entries: Sequence[LogEntry]) -> str | None:
        for entry in entries:
            if entry.status == "running" or (entry.error_log or {}).get("error") == "unexpected":
                return f"the faulty sync ended as {entry.status}: {entry.error_log}"
        return None

    def _check_connections(self) -> None:
        deployment = self._deployed.deployment
        if deployment.warehouse.tokens.get_organisation(TENANT).status is not ConnectionStatus.CONNECTED:
            ConnectionMonitor(deployment, open_alerter(deployment)).evaluate({})

    def compare_with_books(self, kinds: Collection[SyncType]) -> str | None:
        figures = self._deployed.warehouse.read_week_figures(TENANT, self._week)
        books = self._deployed.mock.books(TENANT)
        expected = books.profit_and_loss(self._week)
        totals = figures.profit_and_loss or {}
        names = ("total_trading_income", "cost_of_sales", "gross_profit", "operating_expenses", "net_profit")
        pairs = {
            (SyncType.PROFIT_AND_LOSS, "lines"): (
                {row["account_id"]: row["amount"] for row in figures.lines},
                expected.lines,
            ),
            (SyncType.PROFIT_AND_LOSS, "totals"): (
                [totals.get(name) for name in names],
                [getattr(expected, name) for name in names],
            ),
            (SyncType.INVOICES, "revenue"): (
                {(row["revenue_type"], row["region"]): row["net_revenue"] for row in figures.revenue},
                {key: cell.net_revenue for key, cell in books.revenue(self._week).items()},
            ),
            (SyncType.BANK_SUMMARY, "cash"): (
                {row["bank_account_id"]: row["closing_balance"] for row in figures.cash},
                {bank_id: movement.closing_balance for bank_id, movement in books.bank(self._week).items()},
            ),
        }
        wrong = [name for (kind, name), (held, stated) in pairs.items() if kind in kinds and held != stated]
        return f"differs from the books: {', '.join(wrong)}" if wrong else None


def _list_extracts(deployed: RunningDeployment) -> Iterator[tuple[SyncType, BeginExtracting[Any]]]:
    """What each asset does for a week."""
    settings = deployed.deployment.settings
    for extraction in build_extractions(settings):
        if extraction.kind in WEEKLY_TYPES:
            yield extraction.kind, extraction.begin


def list_single_trials() -> list[tuple[TrialFault, ...]]:
    """Each fault at each endpoint, for one request and for every request."""
    return [
        (TrialFault(endpoint, fault, is_lasting),)
        for endpoint in ENDPOINTS
        for fault in FAULTS
        for is_lasting in (False, True)
    ]


def list_double_trials() -> list[tuple[TrialFault, ...]]:
    """Each pair of faults, at one endpoint or at two. The second lasts in every other pair."""
    places = [(endpoint, fault) for endpoint in ENDPOINTS for fault in FAULTS]
    pairs = itertools.combinations_with_replacement(places, 2)
    return [(TrialFault(*first), TrialFault(*second, number % 2 == 0)) for number, (first, second) in enumerate(pairs)]
