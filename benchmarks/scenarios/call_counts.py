"""b. How many calls a sync needs, as the server counts them."""

from __future__ import annotations

from benchmarks.deployments import Server, serve_xero
from benchmarks.report import Goal, Result
from benchmarks.scenarios.setup import Setup, count_weeks, create_deployment, sync
from benchmarks.xero_server import Books

TITLE = "Calls, as the server counts them"
# weeks, invoices and credit notes of each week, the most calls
CASES = ((1, 20, 2, 8), (26, 20, 2, 59), (26, 400, 40, 52 + 11 + 2 + 4), (104, 9, 1, 2 * 104 + 5))


def measure(setup: Setup) -> Result:
    del setup
    result, wrong = Result(TITLE), []
    with serve_xero() as server:
        for weeks, invoices, credit_notes, most in CASES:
            subject = f"{count_weeks(weeks)}, {invoices * weeks:,} invoices, {credit_notes * weeks:,} credit notes"
            calls = _count(server, weeks, invoices, credit_notes, result, subject, wrong)
            result.goals.append(Goal(f"calls for {subject}", "≤", most, calls))
    result.goals.append(Goal("figures of these runs that differ from the books", "=", 0, len(wrong)))
    result.remarks = ["Each is the first sync of a new deployment: accounts and organisation are asked for as well."]
    return result


def _count(
    server: Server, weeks: int, invoices: int, credit_notes: int, result: Result, subject: str, wrong: list[str]
) -> int:
    with create_deployment(server) as deployment:
        server.set(invoices=invoices, credit_notes=credit_notes)
        synced = sync(deployment, "--weeks", str(weeks), timeout=120)
        wrong += deployment.find_differences(weeks, Books(invoices, credit_notes))
    calls = synced.counts["calls"]
    result.add(subject, "calls", [synced.calls])
    for name in ("Invoices", "CreditNotes", "ProfitAndLoss", "BankSummary", "Organisation", "Accounts"):
        result.add(subject, name, [calls.get(name, 0)])
    result.add(subject, "seconds", [synced.measured.seconds], "s")
    return synced.calls
