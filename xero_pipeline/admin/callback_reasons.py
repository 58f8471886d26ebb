"""Why connecting to Xero failed: one sentence for each `reason` that the browser is sent back with.

The log has the same code and sentence, and the exact error with them.
"""

from __future__ import annotations

from xero_pipeline.errors import PipelineError
from xero_pipeline.xero.errors import ConsentFailed

REASONS: dict[str, str] = {
    # the state
    "state_missing": "Xero’s answer carried no state, so nothing shows who began this sign-in. Nothing was "
    "changed; begin again with Connect.",
    "state_unknown": "This sign-in was not begun here: its state is unknown. Nothing was changed; begin again "
    "with Connect.",
    "state_used": "This sign-in was finished already: each one works once. Nothing was changed; if the "
    "connection is not there, begin again with Connect.",
    "state_expired": "This sign-in took longer than ten minutes and has expired. Nothing was changed; begin again "
    "with Connect.",
    "state_ended": "This sign-in has ended, because somebody has signed out, disconnected or changed the access token "
    "since it began. Nothing was changed; begin again with Connect.",
    "other_browser": "This sign-in was begun in another browser. Nothing was changed; begin and finish it in the "
    "same one.",
    # the consent
    "access_denied": "The consent was not given: somebody pressed Cancel at Xero. Nothing was changed.",
    "consent_refused": "Xero refused the consent. Nothing was changed; the server’s log has Xero’s own words.",
    "scope_refused": "Xero does not allow this app a scope that it requested. Compare XERO_SCOPES with the app at "
    "developer.xero.com, then connect again.",
    "code_missing": "Xero’s answer carried no code. Nothing was changed; begin again with Connect.",
    "code_refused": "Xero refused the code of this sign-in: it is used, expired or not ours. Nothing was changed; "
    "begin again with Connect.",
    "no_organisation": "The consent includes no organisation. Nothing was changed; begin again, and choose at least "
    "one on Xero’s page.",
    "scope_missing": "The consent lacks a scope that the pipeline needs; the server’s log names it. Nothing was "
    "changed; compare XERO_SCOPES with .env.example, then connect again.",
    "not_a_mock": "Only the mock Xero can be connected without a person.",
    # the app, and the calls to Xero
    "app_refused": "Xero refuses this app. Compare XERO_CLIENT_ID and XERO_CLIENT_SECRET with the app at "
    "developer.xero.com. Nothing was changed.",
    "permission_missing": "Xero does not let this app list its organisations. Nothing was changed; the server’s "
    "log has Xero’s own words.",
    "xero_unavailable": "Xero does not answer. Nothing was changed; try again in a few minutes.",
    "rate_limited": "Xero’s limit of calls is reached. Nothing was changed; try again in a minute.",
    "minute_limit": "Xero’s limit of calls is reached. Nothing was changed; try again in a minute.",
    "day_limit": "Today’s calls to Xero are used up. Nothing was changed; try again tomorrow.",
    "request_refused": "Xero refused the request. Nothing was changed; the server’s log has Xero’s own words.",
    "payload_not_understood": "Xero’s answer could not be read. Nothing was changed; the server’s log says more.",
    "reconnect_needed": "Xero refused the token that it had just issued. Nothing was changed; begin again with "
    "Connect.",
    "organisation_disconnected": "Xero no longer lets this app into the organisation. Nothing was changed; begin again "
    "with Connect, and choose the organisation on Xero’s page.",
    "reports_forbidden": "The person who consented may not see reports in Xero. Nothing was changed; give them a role "
    "with reports, or ask somebody else to connect.",
    # this pipeline
    "database_unavailable": "The database does not answer, so nothing could be stored. Begin again with Connect "
    "once it does.",
    "not_migrated": "The database is not at this version’s schema. Run xero-pipeline migrate, then connect again.",
    "not_decryptable": "This sign-in was begun under another encryption key. Nothing was changed; begin again with "
    "Connect.",
}

UNKNOWN_REASON = "The connection could not be made. Nothing was changed; the server’s log says why."


def get_reason(error: PipelineError) -> str:
    """Return the `reason` code of a failed connection."""
    return str(error.reason) if isinstance(error, ConsentFailed) else error.code


def describe_reason(reason: str) -> str:
    """Return the page's sentence for a code. Anybody can write the address bar, so the code itself is not shown."""
    return REASONS.get(reason, UNKNOWN_REASON)
