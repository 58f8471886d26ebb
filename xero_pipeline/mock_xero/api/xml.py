"""Xero's answers as XML: what a client gets that forgets to ask for JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape


def dump_xml(payload: Mapping[str, Any]) -> bytes:
    """A JSON object of the Accounting API as XML."""
    return f'<?xml version="1.0" encoding="utf-8"?>{_element("Response", payload)}'.encode()


def _element(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        inner = "".join(_element(key, one) for key, one in value.items())
    elif isinstance(value, Sequence) and not isinstance(value, str):
        inner = "".join(_element(_singular(name), one) for one in value)
    else:
        inner = "" if value is None else escape(str(value).lower() if isinstance(value, bool) else str(value))
    return f"<{name}>{inner}</{name}>"


def _singular(name: str) -> str:
    return {"TrackingCategories": "TrackingCategory", "Rows": "Row", "Cells": "Cell"}.get(name, name.removesuffix("s"))
