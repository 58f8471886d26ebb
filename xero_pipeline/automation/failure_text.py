"""The plain text for each kind of failure in an alert, with advice, and without any text from Xero.

An error's own text may quote Xero's answer, and so the books. So an alert explains the kind of error with the texts
below. The details stay in the sync log and in the run's log, on the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from xero_pipeline.errors import PipelineError
from xero_pipeline.periods import AnyPeriod, Month, Period, group_into_ranges
from xero_pipeline.warehouse.logs.sync_log import SyncType
from xero_pipeline.weeks import Week

_MORE_IN_LOG = "The sync log and the run's log say more."


@dataclass(frozen=True, slots=True)
class FailureText:
    """What happened, short enough for a subject line, and what to do about it."""

    summary: str
    advice: str


_RECONNECT = "Connect again: on the admin page, or with `xero-pipeline connect`."
_NOTHING_TO_DO = "Nothing needs to be done: the next sync tries again."
_NOTHING_LOST = "Nothing was written; the earlier figures stay."

_FAILURE_TEXTS = {
    "xero_unavailable": FailureText("Xero is unavailable, or the network is", _NOTHING_TO_DO),
    "minute_limit": FailureText(
        "Xero's limit of calls per minute was reached again and again",
        f"Other programs may be using this Xero app. {_NOTHING_TO_DO}",
    ),
    "day_limit": FailureText("Xero's calls for today are spent", "Nothing is lost."),
    "reconnect_needed": FailureText("the connection to Xero has ended", _RECONNECT),
    "organisation_disconnected": FailureText("the organisation was disconnected at Xero", _RECONNECT),
    "not_connected": FailureText("no organisation is connected to Xero", _RECONNECT),
    "unknown_organisation": FailureText(
        "a run asked for an organisation that is not connected",
        "`xero-pipeline status` lists the connected ones.",
    ),
    "scope_missing": FailureText(
        "the consent at Xero lacks a scope", "Compare XERO_SCOPES with .env.example, then connect again."
    ),
    "reports_forbidden": FailureText(
        "the person who connected may not see reports in Xero",
        "Give them a Xero role with reports, or let somebody else connect.",
    ),
    "permission_missing": FailureText(
        "Xero forbids what the sync needs",
        "Check the Xero role of the person who connected, or let somebody else connect.",
    ),
    "app_refused": FailureText(
        "Xero refuses the app itself",
        "Compare XERO_CLIENT_ID, XERO_CLIENT_SECRET and XERO_SCOPES with your app at developer.xero.com.",
    ),
    "request_refused": FailureText("Xero refused a request", f"{_NOTHING_LOST} {_MORE_IN_LOG}"),
    "payload_not_understood": FailureText(
        "Xero's answer cannot be read", f"{_NOTHING_LOST} {_MORE_IN_LOG} A newer version may be needed."
    ),
    "wrong_period": FailureText("Xero answered for other dates than requested", f"{_NOTHING_LOST} {_MORE_IN_LOG}"),
    "unexpected": FailureText("an unexpected error occurred", _MORE_IN_LOG),
    "interrupted": FailureText(
        "the sync was cut off before it ended: its process was stopped or died",
        "No week was left half changed; the next sync reads the weeks again.",
    ),
    "superseded": FailureText("another process read the same week again and again", _NOTHING_TO_DO),
    "not_migrated": FailureText("the database is not at the newest schema", "Run `xero-pipeline migrate`."),
    "database_unavailable": FailureText(
        "the database cannot be reached", "Check DATABASE_URL, and that the server runs."
    ),
    "not_decryptable": FailureText(
        "the stored tokens cannot be decrypted",
        "If XERO_ENCRYPTION_KEY was changed, put the old key into XERO_ENCRYPTION_KEYS_RETIRED; otherwise "
        "connect again.",
    ),
    "lock_timeout": FailureText("another process of this deployment is busy or hangs", _NOTHING_TO_DO),
    "rate_limited": FailureText("one of Xero's limits was reached", _NOTHING_TO_DO),
    "connection_lost": FailureText("the connection to Xero has ended", _RECONNECT),
    "reconciliation_check_failed": FailureText("Xero's totals could not be compared", _NOTHING_TO_DO),
    "late_edits_failed": FailureText("Xero could not be asked what was edited", _NOTHING_TO_DO),
    "wrong_frame": FailureText("the figures do not fit the table", f"{_NOTHING_LOST} {_MORE_IN_LOG}"),
    "no_such_month": FailureText("a run asked for a month that cannot be synced", _MORE_IN_LOG),
    "no_such_week": FailureText("a run asked for a week that cannot be synced", _MORE_IN_LOG),
    "settings": FailureText("a setting is missing or malformed", "The first lines of the process's log name it."),
}

SYNC_TYPE_NAMES = {
    "profit_and_loss": "profit and loss",
    "invoices": "revenue",
    "bank_summary": "cash",
    "profit_and_loss_monthly": "monthly profit and loss",
    "bank_summary_monthly": "monthly cash",
}


def get_failure_text(code: str) -> FailureText:
    """Return the text for an error code. The text for an unknown code names the code."""
    return _FAILURE_TEXTS.get(code) or FailureText(f"something went wrong ({code.replace('_', ' ')})", _MORE_IN_LOG)


def find_error_code(class_names: Iterable[str]) -> str:
    """Return the code of the first error class of ours in a chain of errors, outermost first.

    Without one of ours it is the innermost class name; for an empty chain it is `interrupted`.
    """
    names, codes = list(class_names), list_pipeline_errors()
    return next((codes[name] for name in names if name in codes), names[-1] if names else "interrupted")


def list_pipeline_errors() -> dict[str, str]:
    """List the names of our error classes with their codes."""
    return {error_class.__name__: error_class.code for error_class in _list_subclasses(PipelineError)}


def _list_subclasses(error_class: type[PipelineError]) -> Iterator[type[PipelineError]]:
    yield error_class
    for child in error_class.__subclasses__():
        yield from _list_subclasses(child)


def format_weeks(weeks: Iterable[Period], at_most: int = 6) -> str:
    """Format weeks as `week ending 2026-11-21` or `weeks ending 2026-10-31 to 2026-11-21 and 2026-08-01`.

    Months follow the weeks in the same way.
    """
    periods = set(weeks)
    of_weeks = _format_periods([one for one in periods if isinstance(one, Week)], at_most)
    of_months = _format_periods([one for one in periods if isinstance(one, Month)], at_most)
    return format_list(filter(None, (of_weeks, of_months))) if periods else "no week"


def _format_periods(periods: Sequence[AnyPeriod], at_most: int) -> str:
    ranges = group_into_ranges(periods)
    if not ranges:
        return ""
    names = [str(last) if first == last else f"{first} to {last}" for first, last in ranges[:at_most]]
    if len(ranges) > at_most:
        names.append(f"{len(ranges) - at_most} older ranges")
    is_single = len(ranges) == 1 and ranges[0][0] == ranges[0][1]
    return f"{ranges[0][0].NOUN}{'' if is_single else 's'} ending {format_list(names)}"


def parse_periods(failures: Mapping[str, Iterable[str]]) -> list[Period]:
    """Return the weeks and months of an alert's details, which name their last days by sync type."""
    return [parse_period(sync_type, text) for sync_type, texts in failures.items() for text in texts]


def parse_period(sync_type: str, text: str) -> Period:
    """Return the week, or for a monthly sync type the month, that ends on this day."""
    return SyncType(sync_type).period(date.fromisoformat(text))


def format_list(names: Iterable[str]) -> str:
    """Format names as `a`, `a and b`, `a, b and c`."""
    listed = list(names)
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"
