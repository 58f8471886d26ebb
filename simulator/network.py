"""The network to the mock Xero: answers take time, get lost, and are wrong when a seed says so.

It also observes what a deployment must not do: more calls than permits, a refresh token used twice, and it remembers
each secret that passes, so that none of them may be found in a file later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs

from requests import PreparedRequest, Response
from requests import exceptions as exceptions
from requests.adapters import BaseAdapter

from simulator.lists import ListFault
from simulator.processes import Machine, Process
from xero_pipeline.mock_xero import ConnectionBreak, MockFault, MockTransport, MockXero
from xero_pipeline.mock_xero.faults import FaultKind, corrupt_response, replace_response
from xero_pipeline.mock_xero.messages import MockRequest, MockResponse

ENDPOINTS = {
    "token": "/connect/token$",
    "connections": "/[Cc]onnections",
    "organisation": "/Organisation$",
    "accounts": "/Accounts$",
    "profit and loss": "/Reports/ProfitAndLoss$",
    "bank summary": "/Reports/BankSummary$",
    "invoices": "/Invoices$",
    "credit notes": "/CreditNotes$",
    "anything": "/api.xro/",
}


def _status(status: int, body: str = "", headers: Mapping[str, str] | None = None) -> MockFault:
    return MockFault(FaultKind.STATUS, status=status, body=body, headers=headers or {})


def _limit(problem: str | None, retry_after: str | None) -> MockFault:
    headers = {"X-Rate-Limit-Problem": problem, "Retry-After": retry_after}
    return _status(429, headers={name: value for name, value in headers.items() if value is not None})


FAULTS: dict[str, MockFault] = {
    "401 token expired": _status(401, '{"Title": "Unauthorized", "Status": 401, "Detail": "TokenExpired"}'),
    "401 without a body": _status(401),
    "403 authentication": _status(403, '{"Detail": "AuthenticationUnsuccessful"}'),
    "403 no reports": MockFault(FaultKind.NO_REPORTS),
    "404": _status(404, "The resource you're looking for cannot be found"),
    "408": _status(408),
    "429 minute": _limit("minute", "30"),
    "429 minute without headers": _limit(None, None),
    "429 minute for ever": _limit("minute", "99999999999"),
    "429 app minute": _limit("appminute", "30"),
    "429 concurrent": _limit("concurrent", None),
    "429 day": _limit("day", "20000"),
    "500": _status(500),
    "502 HTML": _status(502, "<html><h1>Bad Gateway</h1></html>"),
    "503 for half an hour": _status(503, headers={"Retry-After": "1800"}),
    "200 HTML": _status(200, "<html><p>Sign in to the hotel's network</p></html>"),
    "200 empty": _status(200),
    "200 {}": _status(200, "{}"),
    "200 null": _status(200, "null"),
    "200 error": _status(200, '{"Status": "ERROR"}'),
    "reset before": MockFault(FaultKind.DROP, handled=False),
    "reset after": MockFault(FaultKind.DROP),
    "timed out": MockFault(FaultKind.TIME_OUT),
    "cut": MockFault(FaultKind.CUT),
    "truncated": MockFault(FaultKind.TRUNCATE),
    "invalid JSON": MockFault(FaultKind.INVALID_JSON),
    "slow": MockFault(FaultKind.DELAY, seconds=50.0),
    "other dates": MockFault(FaultKind.IGNORE_DATES),
}
"""What the mock can do itself, by name."""


@dataclass
class ArmedFault:
    """A fault for requests to an endpoint: `times` of them, or all until a moment."""

    name: str
    endpoint: str
    times: int
    until: datetime | None = None
    skip: int = 0


class Network:
    """Everything between the deployment and Xero.

    Attributes:
        armed: the faults that wait for their request.
        list_faults: those that wait for a page of a list.
        calls: how many requests of the API arrived at Xero.
        secrets: tokens and codes that passed.
        double_refreshes: refresh tokens that were sent again although nothing had gone wrong.
    """

    def __init__(self, mock: MockXero, machine: Machine) -> None:
        self.mock = mock
        self.machine = machine
        self.scheduler = machine.scheduler
        self.armed: list[ArmedFault] = []
        self.list_faults: list[ListFault] = []
        self.calls = 0
        self.secrets: set[str] = set()
        self.double_refreshes: list[str] = []
        # Who sent each refresh token, and whether Xero refused it or its answer was lost.
        self._refreshes: dict[str, tuple[Process, bool]] = {}

    def exchange(self, request: MockRequest, process: Process, handle: Callable[[], MockResponse]) -> MockResponse:
        """Answer one request, with its time and its faults."""
        draw = process.machine.draw
        process.step()
        process.sleep(draw.uniform(0.05, 0.5))
        fault = self._match(request)
        if "/api.xro/" in request.path:
            self.calls += 1
        refresh = self._begin_refresh(request, process)
        response = self._answer(request, process, fault, handle)
        process.sleep(draw.uniform(0.02, 0.4))
        if refresh and (response.status != 200 or response.broken or fault is not None):
            self._refreshes[refresh] = (process, True)
        self._remember_secrets(request, response)
        return response

    def _answer(
        self, request: MockRequest, process: Process, fault: ArmedFault | None, handle: Callable[[], MockResponse]
    ) -> MockResponse:
        if fault is None:
            return self._spoil_list(request, process, handle())
        process.was_disturbed = True
        self.machine.note(f"HTTP: {fault.name}")
        known = FAULTS[fault.name]
        if known.kind is FaultKind.DELAY:
            process.sleep(known.seconds)
        if known.kind is FaultKind.IGNORE_DATES:
            self.mock.add_fault(known)
            response = handle()
            self.mock.clear_faults()
            return response
        return replace_response(known) or corrupt_response(known, handle())

    def _match(self, request: MockRequest) -> ArmedFault | None:
        for fault in list(self.armed):
            if fault.until is not None and self.scheduler.now() >= fault.until:
                self.armed.remove(fault)
                continue
            if not re.search(ENDPOINTS[fault.endpoint], request.path):
                continue
            if fault.name == "403 no reports" and "/Reports/" not in request.path:
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            fault.times -= 1
            if fault.times <= 0 and fault.until is None:
                self.armed.remove(fault)
            return fault
        return None

    def _spoil_list(self, request: MockRequest, process: Process, response: MockResponse) -> MockResponse:
        """Let the first fault that can spoil this page do so."""
        for fault in list(self.list_faults):
            if not re.search(ENDPOINTS[fault.endpoint], request.path):
                continue
            spoiled = fault.spoil(request, response)
            if spoiled is not None:
                fault.times -= 1
                if fault.times <= 0:
                    self.list_faults.remove(fault)
                process.was_disturbed = True
                self.machine.note(f"HTTP: {fault.name}")
                return spoiled
        return response

    def _begin_refresh(self, request: MockRequest, process: Process) -> str | None:
        if not request.path.endswith("/connect/token"):
            return None
        form = parse_qs(request.body.decode())
        token = next(iter(form.get("refresh_token", [])), None)
        if token is None:
            return None
        earlier = self._refreshes.get(token)
        if earlier is not None and not earlier[1] and not earlier[0].was_disturbed:
            self.double_refreshes.append(f"{earlier[0].name} and {process.name} refreshed with the same token")
        self._refreshes[token] = (process, False)
        return token

    def _remember_secrets(self, request: MockRequest, response: MockResponse) -> None:
        if not request.path.endswith("/connect/token") or response.status != 200:
            return
        try:
            answer = json.loads(response.body)
        except ValueError:
            return
        if isinstance(answer, dict):
            self.secrets |= {
                str(answer[name]) for name in ("access_token", "refresh_token", "id_token") if name in answer
            }


class SimulatedTransport(BaseAdapter):
    """One process's connection to the network."""

    def __init__(self, network: Network, process: Process) -> None:
        super().__init__()
        self._network = network
        self._process = process
        self._inner = MockTransport(_Door(network, process))  # type: ignore[arg-type]

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        return self._inner.send(request, *args, **kwargs)

    def close(self) -> None:
        self._inner.close()


class _Door:
    """Stands where `MockTransport` expects the mock."""

    def __init__(self, network: Network, process: Process) -> None:
        self._network = network
        self._process = process

    def handle(self, request: MockRequest) -> MockResponse:
        mock = self._network.mock
        return self._network.exchange(request, self._process, lambda: mock.handle(request))


__all__ = ["ENDPOINTS", "FAULTS", "ArmedFault", "ConnectionBreak", "Network", "SimulatedTransport"]
