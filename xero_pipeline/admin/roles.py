"""Which role each request needs. The one place that decides it; `security.py` enforces it before any route runs.

A request that changes something and is not listed here needs an owner, so a forgotten route is closed and not open. A
test walks all routes and fails for one that changes something and has no line here.
"""

from __future__ import annotations

import re

from xero_pipeline.settings import DAGSTER_PATH
from xero_pipeline.warehouse.access.audit_log import AuditAction
from xero_pipeline.warehouse.access.roles import AccessRole

API_PATH = "/api/v1/xero"
CALLBACK_PATH = f"{API_PATH}/callback"
MOCK_PATH = "/mock-xero"
# The only address that answers a WebSocket: Dagster's UI follows runs over it.
GRAPHQL_PATH = f"{DAGSTER_PATH}/graphql"
STATIC_PATH = "/static/"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

# The callback needs no sign-in: it requires the one-time state of a consent that this browser began.
OPEN_PATHS = frozenset({"/healthz", "/login", CALLBACK_PATH})

CHANGING_ROUTES: dict[str, tuple[AccessRole, AuditAction]] = {
    "/logout": (AccessRole.VIEWER, AuditAction.SIGN_OUT),
    f"{API_PATH}/sync": (AccessRole.OPERATOR, AuditAction.SYNC),
    f"{API_PATH}/sync-logs/{{logId}}/accept": (AccessRole.OPERATOR, AuditAction.ACCEPT),
    f"{API_PATH}/scheduler/start": (AccessRole.OPERATOR, AuditAction.START_SCHEDULER),
    f"{API_PATH}/scheduler/stop": (AccessRole.OPERATOR, AuditAction.STOP_SCHEDULER),
    f"{API_PATH}/disconnect": (AccessRole.OWNER, AuditAction.DISCONNECT),
    f"{API_PATH}/access/add": (AccessRole.OWNER, AuditAction.ADD_ACCESS),
    f"{API_PATH}/access/remove": (AccessRole.OWNER, AuditAction.REMOVE_ACCESS),
    f"{API_PATH}/sessions/end": (AccessRole.OWNER, AuditAction.END_SESSION),
}
"""The routes that change something, by the template of their path: the role that they need, and what they do."""

# What only some may read. The consent page of the mock belongs to connecting. Dagster's UI changes things, and which of
# its requests only read cannot be told from outside.
_READING_ROUTES: dict[str, AccessRole] = {
    f"{API_PATH}/connect": AccessRole.OWNER,
    f"{API_PATH}/access": AccessRole.OWNER,
    f"{API_PATH}/sessions": AccessRole.OWNER,
    # A proxy asks here whether a visitor may be let through.
    **{f"/auth/{role.value}": role for role in AccessRole},
}
_SUBTREES: dict[str, AccessRole] = {DAGSTER_PATH: AccessRole.OPERATOR, MOCK_PATH: AccessRole.OWNER}


def _compile(template: str) -> re.Pattern[str]:
    return re.compile("/".join("[^/]+" if part.startswith("{") else re.escape(part) for part in template.split("/")))


_CHANGING = [(_compile(template), *rule) for template, rule in CHANGING_ROUTES.items()]


def required_role(path: str, method: str) -> AccessRole | None:
    """Return the role that a request needs; `None` if it needs no sign-in.

    Args:
        method: of HTTP; any other word, such as `WEBSOCKET`, counts as a request that changes something.
    """
    for prefix, role in _SUBTREES.items():
        if path == prefix or path.startswith(f"{prefix}/"):
            return role
    if path in OPEN_PATHS or path.startswith(STATIC_PATH):
        return None
    if method in SAFE_METHODS:
        return _READING_ROUTES.get(path, AccessRole.VIEWER)
    return next((role for pattern, role, _ in _CHANGING if pattern.fullmatch(path)), AccessRole.OWNER)


def find_action(path: str, method: str) -> AuditAction | None:
    """Return what a request does, for the audit log; `None` if it is not listed or only reads."""
    if path == f"{API_PATH}/connect":
        return AuditAction.CONNECT
    if method in SAFE_METHODS:
        return None
    if path.startswith(f"{DAGSTER_PATH}/") and method != "WEBSOCKET":
        # Of somebody who may not change anything there, the body is not read.
        return AuditAction.DAGSTER_CHANGE
    return next((action for pattern, _, action in _CHANGING if pattern.fullmatch(path)), None)
