"""h. What people would pick instead, for the invoices and credit notes of half a year."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.deployments import Server, serve_xero
from benchmarks.peers import environments
from benchmarks.processes import Measured, MeasuredCommandError, run_measured
from benchmarks.report import Result
from benchmarks.scenarios.setup import Setup, create_deployment, create_folder, sync
from benchmarks.xero_server import get_last_weeks, get_tenant

TITLE = "Others: the invoices and credit notes of 26 weeks, against a server that answers at once"
WEEKS, INVOICES, CREDIT_NOTES = 26, 100, 10
OURS = "`xero-pipeline sync --weeks 26`"
REMARKS = [
    f"The server has {WEEKS * INVOICES:,} invoices of two lines and {WEEKS * CREDIT_NOTES:,} credit notes. The seconds "
    "are those of whole processes. Ours also fetches two reports for each week, lands the weekly profit and loss, "
    "revenue and cash, runs its checks and keeps Dagster's history; the others load the documents alone. The calls of "
    "the documents are counted separately. The peak of tap-xero is the larger of its two processes.",
    "Each environment is pinned in `benchmarks/peers/` and built in `.bench/`. tap-xero has no setting for Xero's "
    "address, so `benchmarks/peers/tap_xero_elsewhere.py` sets its constant. It imports `six`, which it does not ask "
    "for, so the requirements add it. It cannot list by date: it loads what changed since a moment, 100 documents a "
    "page.",
]


@dataclass(frozen=True)
class Loaded:
    """One run of a peer: the process, the documents that arrived, how it keeps amounts, what it does for reports."""

    measured: Measured
    documents: int
    amounts: str
    reports: str


def measure(setup: Setup) -> Result:
    result = Result(TITLE)
    peers: dict[str, Callable[[Server, Path], Loaded]] = {
        f"dlt {environments.read_version('dlt', 'dlt')}, `rest_api` into DuckDB": _load_with_dlt,
        f"tap-xero {environments.read_version('tap-xero', 'tap-xero')} into target-jsonl "
        f"{environments.read_version('target-jsonl', 'target-jsonl')}": _load_with_tap_xero,
        f"a loop over xero-python {environments.read_version('xero-python', 'xero-python')} into SQLite": _loop,
    }
    with serve_xero() as server:
        _measure_ours(server, setup.runs, result)
        for subject, load in peers.items():
            try:
                _measure_peer(server, subject, load, setup.runs, result)
            except MeasuredCommandError as error:
                result.say(subject, "seconds", f"not measured: {error}")
    result.remarks = REMARKS
    return result


def _measure_ours(server: Server, runs: int, result: Result) -> None:
    loaded = []
    for _ in range(runs):
        with create_deployment(server) as deployment:
            _set(server)
            loaded.append(sync(deployment, "--weeks", str(WEEKS), timeout=180))
    rows = [
        entry for entry in loaded[-1].read_logs() if entry["syncType"] != "invoices" and entry["status"] == "success"
    ]
    weekly = {kind: sum(entry["syncType"] == kind for entry in rows) for kind in {entry["syncType"] for entry in rows}}
    result.add(OURS, "seconds", [one.measured.seconds for one in loaded], "s")
    _add_calls(result, OURS, loaded[-1].counts["calls"])
    result.add(OURS, "peak memory", [max(one.measured.megabytes for one in loaded)], "MB")
    result.add(OURS, "documents", [WEEKS * (INVOICES + CREDIT_NOTES)])
    result.say(OURS, "amounts", "decimal, exact")
    reports = ", ".join(f"{count} weeks of {kind.replace('_', ' ')}" for kind, count in sorted(weekly.items()))
    result.say(OURS, "weekly P&L and bank summary", f"yes: {reports}")


def _measure_peer(
    server: Server, subject: str, load: Callable[[Server, Path], Loaded], runs: int, result: Result
) -> None:
    loaded = []
    for _ in range(runs):
        with create_folder() as folder:
            _set(server)
            loaded.append(load(server, folder))
            calls = server.read_counts()["calls"]
    last = loaded[-1]
    result.add(subject, "seconds", [one.measured.seconds for one in loaded], "s")
    _add_calls(result, subject, calls)
    result.add(subject, "peak memory", [max(one.measured.megabytes for one in loaded)], "MB")
    result.add(subject, "documents", [last.documents])
    result.say(subject, "amounts", last.amounts)
    result.say(subject, "weekly P&L and bank summary", last.reports)


def _set(server: Server) -> None:
    server.set(invoices=INVOICES, credit_notes=CREDIT_NOTES, weeks=WEEKS)


def _add_calls(result: Result, subject: str, calls: dict[str, int]) -> None:
    documents = calls.get("Invoices", 0) + calls.get("CreditNotes", 0)
    result.add(subject, "calls for documents", [documents])
    result.add(subject, "other calls", [sum(calls.values()) - documents])


def _load_with_dlt(server: Server, folder: Path) -> Loaded:
    return _run_script(server, folder, "dlt", "load_with_dlt.py")


def _loop(server: Server, folder: Path) -> Loaded:
    return _run_script(server, folder, "xero-python", "load_with_xero_python.py", "documents.db")


def _run_script(server: Server, folder: Path, name: str, script: str, *arguments: str) -> Loaded:
    python = environments.build(name) / "python"
    days = [str(day) for day in get_last_weeks(WEEKS)]
    command = [str(python), str(environments.HERE / script), server.url, get_tenant(0), *days, *arguments]
    measured = run_measured(command, folder=folder, environment=_make_environment(folder, server), timeout=120)
    said: dict[str, Any] = json.loads(measured.output.splitlines()[-1])
    # What the script tries with a report afterwards is not part of the task.
    seconds = measured.seconds - said["seconds_of_reports"]
    only_documents = Measured(seconds, measured.cpu_seconds, measured.megabytes, measured.output, measured.errors)
    return Loaded(only_documents, said["documents"], said["amounts"], said["reports"])


def _load_with_tap_xero(server: Server, folder: Path) -> Loaded:
    tap_python, target = environments.build("tap-xero") / "python", environments.build("target-jsonl") / "target-jsonl"
    environment = _make_environment(folder, server)
    config = {"start_date": "2009-01-01T00:00:00Z", "client_id": "app", "client_secret": "app-secret",
              "tenant_id": get_tenant(0), "refresh_token": "refresh"}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    tap = [str(tap_python), str(environments.HERE / "tap_xero_elsewhere.py"), "--config", "config.json"]
    catalog = json.loads(run_measured([*tap, "--discover"], folder=folder, environment=environment, timeout=60).output)
    names = [stream["stream"] for stream in catalog["streams"]]
    for stream in catalog["streams"]:
        for entry in stream["metadata"]:
            if entry["breadcrumb"] == [] and stream["stream"] in ("invoices", "credit_notes"):
                entry["metadata"]["selected"] = True
    (folder / "catalog.json").write_text(json.dumps(catalog))
    _set(server)
    pipe = f"set -o pipefail; {shlex.join(tap)} --catalog catalog.json | {shlex.quote(str(target))} > state.json"
    measured = run_measured(["bash", "-c", pipe], folder=folder, environment=environment, timeout=120)
    documents = sum(len(file.read_text().splitlines()) for file in folder.glob("*.jsonl"))
    reports = [name for name in names if "report" in name or "profit" in name or "summary" in name]
    can = f"yes: {', '.join(reports)}" if reports else f"no: none of its {len(names)} streams is a report"
    return Loaded(measured, documents, "JSON numbers", can)


def _make_environment(folder: Path, server: Server) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "XERO_URL": server.url, "LANG": "C.UTF-8"}
