"""Hides what looks like a secret in an error that the sync log keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_SECRET_NAME = re.compile(r"token|secret|password|authorization|code_verifier|encryption_key", re.IGNORECASE)
# A JSON Web Token (Xero's access and id tokens), a bearer or basic header, or a user and password in a URL.
_SECRET_TEXT = re.compile(
    r"eyJ[\w-]+\.[\w-]+\.[\w-]*|\b(?:Bearer|Basic)\s+[\w.~+/=-]{8,}|(?<=://)[^\s/@]+:[^\s/@]+(?=@)"
)
_HIDDEN = "[hidden]"


def hide_secrets(value: Any) -> Any:
    """The same JSON with every value hidden that looks like a secret. This is a last safeguard: people read the log."""
    if isinstance(value, str):
        return _SECRET_TEXT.sub(_HIDDEN, value)
    if isinstance(value, Mapping):
        return {
            key: _HIDDEN if _SECRET_NAME.search(str(key)) and isinstance(inner, str) else hide_secrets(inner)
            for key, inner in value.items()
        }
    if isinstance(value, Sequence):
        return [hide_secrets(inner) for inner in value]
    return value
