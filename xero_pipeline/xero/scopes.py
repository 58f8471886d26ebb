"""Xero's scopes: which consent covers which. Source: Xero's granular scopes, March 2026."""

from __future__ import annotations

from collections.abc import Collection

# By the beginning of a granular scope: the broad scope that Xero split it off from.
_BROAD_SCOPES = {
    "accounting.reports.": "accounting.reports",
    "accounting.invoices": "accounting.transactions",
}


def is_granted(scope: str, granted: Collection[str]) -> bool:
    """Whether a consent covers a scope.

    It does with the scope itself, with the same scope that also allows writing, or with the broad scope of older apps
    that it was split off from (Xero's granular scopes, March 2026).
    """
    write_scope = scope.removesuffix(".read")
    broad = next((old for prefix, old in _BROAD_SCOPES.items() if write_scope.startswith(prefix)), write_scope)
    return bool({scope, write_scope, broad, f"{broad}.read"} & set(granted))
