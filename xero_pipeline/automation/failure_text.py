"""What a failure is called in an alert: in words, with what to do, and nothing of Xero's own text.

An error's own text may quote what Xero answered, and so the books. So an alert says what its kind of error
means, from here; the details stay in the sync log and in the run's log, on the machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xero_pipeline.automation.planning import as_ranges
from xero_pipeline.errors import PipelineError
from xero_pipeline.weeks import Week

_MORE_IN_LOG = "The sync log and the run's log say more."


@dataclass(frozen=True, slots=True)
class FailureText:
    """What happened, short enough for a subject line, and what to do about it."""

    what: str
    to_do: str


_RECONNECT = "Connect again: on the admin page, or with `xero-pipeline connect`."
_NOTHING_TO_DO = "Nothing needs to be done: the next sync tries again."
_NOTHING_LOST = "Nothing was written; what was held before stays."

_WORDS = {
    "xero_unavailable": FailureText("Xero is unavailable, or the network is", _NOTHING_TO_DO),
    "minute_limit": FailureText(
        "Xero's limit of calls a minute was reached again and again",
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
    "wrong_period": FailureText("Xero answered for other dates than were asked for", f"{_NOTHING_LOST} {_MORE_IN_LOG}"),
    "unexpected": FailureText("something went wrong that nobody foresaw", _MORE_IN_LOG),
    "interrupted": FailureText(
        "the sync was cut off before it ended: its process was stopped or died",
        "Nothing was changed by halves; the next sync reads the weeks again.",
    ),
    "superseded": FailureText("another process kept reading the same week anew", _NOTHING_TO_DO),
    "not_migrated": FailureText(
        "the database is not at the newest schema", "Bring it there with `xero-pipeline migrate`."
    ),
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
    "late_edits_failed": FailureText("Xero could not be asked what was edited", _NOTHING_TO_DO),
    "wrong_frame": FailureText("figures did not have the shape that a table needs", f"{_NOTHING_LOST} {_MORE_IN_LOG}"),
    "no_such_week": FailureText("a run asked for a week that cannot be synced", _MORE_IN_LOG),
    "settings": FailureText("a setting is missing or malformed", "The first lines of the process's log name it."),
}

KINDS = {"profit_and_loss": "profit and loss", "invoices": "revenue", "bank_summary": "cash"}


def failure_text(code: str) -> FailureText:
    """The words for an error's code; a code that is not known here is at least named."""
    return _WORDS.get(code) or FailureText(f"something went wrong ({code.replace('_', ' ')})", _MORE_IN_LOG)


def code_of(class_names: Iterable[str]) -> str:
    """The code of the first class in a chain of errors that is one of ours, or else the innermost's name."""
    names = list(class_names)
    ours = {kind.__name__: kind.code for kind in _family(PipelineError)}
    return next((ours[name] for name in names if name in ours), names[-1] if names else "interrupted")


def _family(kind: type[PipelineError]) -> Iterator[type[PipelineError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _family(child)


def format_weeks(weeks: Iterable[Week], at_most: int = 6) -> str:
    """`week ending 2026-11-21`, `weeks ending 2026-10-31 to 2026-11-21 and 2026-08-01`."""
    ranges = as_ranges(weeks)
    if not ranges:
        return "no week"
    names = [str(last) if first == last else f"{first} to {last}" for first, last in ranges[:at_most]]
    if len(ranges) > at_most:
        names.append(f"{len(ranges) - at_most} older stretches")
    one = len(ranges) == 1 and ranges[0][0] == ranges[0][1]
    return f"week{'' if one else 's'} ending {format_list(names)}"


def format_list(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    words = list(names)
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
