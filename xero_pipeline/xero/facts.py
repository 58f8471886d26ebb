"""What seldom changes about an organisation: its details and its chart of accounts, each requested at most once a day.

A chart that was kept can be outdated. So it is requested anew when a report has an account that it does not have, or
does not add up with it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Protocol

from xero_pipeline.clock import Clock
from xero_pipeline.xero.http.transport import XeroApis
from xero_pipeline.xero.readers.accounts import (
    Account,
    OrganisationDetails,
    keep_accounts,
    keep_organisation,
    read_accounts,
    read_organisation,
)

Json = dict[str, Any]

KEPT_FOR = timedelta(days=1)

_ORGANISATION, _ACCOUNTS = "Organisation", "Accounts"


class KeptFacts(Protocol):
    """Keeps answers of Xero for other processes, each in the shape of Xero's own JSON."""

    def read(self, tenant_id: str, kind: str) -> tuple[Json, datetime] | None:
        """Return what was kept, and when; `None` if nothing was."""
        ...

    def save(self, tenant_id: str, kind: str, answer: Json, now: datetime) -> None: ...

    def forget(self, tenant_id: str, kind: str) -> None: ...


class NoKeptFacts:
    """Keeps nothing."""

    def read(self, tenant_id: str, kind: str) -> tuple[Json, datetime] | None:
        return None

    def save(self, tenant_id: str, kind: str, answer: Json, now: datetime) -> None:
        pass

    def forget(self, tenant_id: str, kind: str) -> None:
        pass


class OrganisationFacts:
    """The facts of one organisation, for one client. Safe to use from several threads: one of them asks for all."""

    def __init__(self, apis: XeroApis, tenant_id: str, kept: KeptFacts, clock: Clock) -> None:
        self._apis = apis
        self._tenant_id = tenant_id
        self._kept = kept
        self._clock = clock
        self._lock = threading.Lock()
        self._details: OrganisationDetails | None = None
        self._accounts: dict[str, Account] | None = None
        self._requested_at = 0.0
        self._looked_up: set[str] = set()

    def get_details(self) -> OrganisationDetails:
        with self._lock:
            if self._details is None:
                answer = self._read_kept(_ORGANISATION)
                if answer is None:
                    answer = keep_organisation(self._apis.get(_ORGANISATION, "get_organisations", self._tenant_id))
                    self._kept.save(self._tenant_id, _ORGANISATION, answer, self._clock.now())
                self._details = read_organisation(answer)
            return self._details

    def get_accounts(self) -> dict[str, Account]:
        with self._lock:
            if self._accounts is None:
                answer = self._read_kept(_ACCOUNTS)
                self._accounts = self._request_accounts() if answer is None else read_accounts(answer)
            return self._accounts

    def forget_accounts(self) -> None:
        with self._lock:
            self._accounts, self._requested_at = None, 0.0
            self._kept.forget(self._tenant_id, _ACCOUNTS)

    def refresh_accounts(self, unknown: Iterable[str], asked_at: float) -> bool:
        with self._lock:
            if self._requested_at > asked_at:
                # The chart is newer than the report: another thread may have asked for it meanwhile.
                self._looked_up |= set(unknown) - (self._accounts or {}).keys()
                return True
            missing = set(unknown) - self._looked_up
            if self._requested_at > 0 and not missing:
                return False
            self._accounts = self._request_accounts()
            # An account that is not in the chart now either is not looked up again: each week may have it.
            self._looked_up |= missing - self._accounts.keys()
            return True

    def _request_accounts(self) -> dict[str, Account]:
        answer = keep_accounts(self._apis.get(_ACCOUNTS, "get_accounts", self._tenant_id))
        accounts = read_accounts(answer)
        self._kept.save(self._tenant_id, _ACCOUNTS, answer, self._clock.now())
        self._requested_at = time.monotonic()
        return accounts

    def _read_kept(self, kind: str) -> Json | None:
        kept = self._kept.read(self._tenant_id, kind)
        if kept is None:
            return None
        answer, kept_at = kept
        # One from the future was kept by a clock that was wrong.
        if not kept_at <= self._clock.now() < kept_at + KEPT_FOR:
            return None
        return answer
