"""Xero's answers as XML, for a client that does not accept JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape


def dump_xml(payload: Mapping[str, Any]) -> bytes:
    """A payload of the Accounting API as XML."""
    return f'<?xml version="1.0" encoding="utf-8"?>{_render_element("Response", payload)}'.encode()


def _render_element(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        inner = "".join(_render_element(key, item) for key, item in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        inner = "".join(_render_element(_make_singular(name), item) for item in value)
    else:
        inner = "" if value is None else escape(str(value).lower() if isinstance(value, bool) else str(value))
    return f"<{name}>{inner}</{name}>"


def _make_singular(name: str) -> str:
    irregular = {"Addresses": "Address", "Currencies": "Currency", "TrackingCategories": "TrackingCategory"}
    return irregular.get(name, name.removesuffix("s"))
